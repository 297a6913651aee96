use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The key of everything facemill stores: the first 16 bytes of BLAKE3 over the canonical URL.
///
/// Written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId([u8; 16]);

impl ImageId {
    /// The id of some text or bytes: a canonical URL, or what was submitted in the place of one.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut id = [0; 16];
        id.iter_mut().zip(blake3::hash(bytes.as_ref()).as_bytes()).for_each(|(to, from)| *to = *from);
        ImageId(id)
    }

    /// From its 16 bytes, as a database stores it.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        ImageId(bytes)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({self})")
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an image id is 32 hexadecimal digits")]
pub struct ParseImageIdError;

impl FromStr for ImageId {
    type Err = ParseImageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseImageIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| ParseImageIdError)?;
        Ok(ImageId(number.to_be_bytes()))
    }
}

impl Serialize for ImageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_the_first_half_of_blake3_and_never_changes() {
        let id = ImageId::of("https://example.com/a.jpg");
        let whole = blake3::hash(b"https://example.com/a.jpg").to_hex();
        assert_eq!(id.to_string(), whole[..32]);
        // A stored key: if this value ever changes, every table and topic of every user is orphaned.
        assert_eq!(id.to_string(), "17207da83b7770fce81106ab583c940f");
    }

    #[test]
    fn text_form_round_trips_and_rejects_what_is_no_id() {
        let id = ImageId::of("x");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "+0000000000000000000000000000000", "zz000000000000000000000000000000"] {
            assert_eq!(bad.parse::<ImageId>(), Err(ParseImageIdError), "{bad}");
        }
    }
}
