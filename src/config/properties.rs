use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, de::Error};

/// Values whose names the user takes from elsewhere, with dots in them: "security.protocol" = "SASL_SSL".
///
/// A file's quoted name and the nested tables that `--set` and the environment make of the dots are the same here.
/// Values may be secrets, so that they are never printed.
#[derive(Clone, Default, PartialEq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = BTreeMap::new();
        for (name, value) in BTreeMap::<String, serde_json::Value>::deserialize(deserializer)? {
            flatten(name, value, &mut properties).map_err(D::Error::custom)?;
        }
        Ok(Properties(properties))
    }
}

fn flatten(name: String, value: serde_json::Value, into: &mut BTreeMap<String, String>) -> Result<(), String> {
    use serde_json::Value;
    match value {
        Value::Object(table) => {
            table.into_iter().try_for_each(|(inner, value)| flatten(format!("{name}.{inner}"), value, into))
        }
        Value::String(text) => {
            into.insert(name, text);
            Ok(())
        }
        Value::Bool(_) | Value::Number(_) => {
            into.insert(name, value.to_string());
            Ok(())
        }
        Value::Null | Value::Array(_) => Err(format!("'{name}' is neither a text, a number nor true or false")),
    }
}
