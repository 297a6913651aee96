//! Frees the sizes in an ONNX file: a model exported for one input size runs at every size.
//!
//! An ONNX file is a protobuf message (onnx.proto, `ModelProto`). Only the few fields on the way to the
//! shapes are rewritten; every other byte is copied as it stands, whatever it means.

/// The file is no protobuf message with an ONNX graph.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The bytes do not follow protobuf's wire format.
    #[error("not an ONNX file: damaged near byte {0} of one of its messages")]
    Wire(usize),
    /// There is no such input.
    #[error("the graph has no input named '{0}'")]
    NoInput(String),
}

/// Field numbers of onnx.proto.
mod field {
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const GRAPH_INPUT: u64 = 11;
    pub(super) const GRAPH_OUTPUT: u64 = 12;
    pub(super) const GRAPH_VALUE_INFO: u64 = 13;
    pub(super) const VALUE_NAME: u64 = 1;
    pub(super) const VALUE_TYPE: u64 = 2;
    pub(super) const TYPE_TENSOR: u64 = 1;
    pub(super) const TENSOR_SHAPE: u64 = 2;
    pub(super) const SHAPE_DIM: u64 = 1;
    pub(super) const DIM_PARAM: u64 = 2;
}

/// The model with a symbol in the place of batch, height and width of the input `name` (axes 0, 2, 3) and
/// of the first two axes of every output, without the shapes of intermediate values that follow from them.
///
/// # Errors
/// When the bytes are no ONNX file, or have no such input.
pub fn with_free_sizes(model: &[u8], name: &str) -> Result<Vec<u8>, GraphError> {
    let mut found = false;
    let rewritten = rewrite(model, &mut |field| match field.number {
        field::MODEL_GRAPH => Ok(Edit::Replace(rewrite(field.payload, &mut |field| match field.number {
            field::GRAPH_VALUE_INFO => Ok(Edit::Drop),
            field::GRAPH_INPUT if value_name(field.payload)? == name.as_bytes() => {
                found = true;
                Ok(Edit::Replace(with_free_axes(field.payload, "input", &[0, 2, 3])?))
            }
            field::GRAPH_OUTPUT => {
                let output = String::from_utf8_lossy(value_name(field.payload)?);
                Ok(Edit::Replace(with_free_axes(field.payload, &output, &[0, 1])?))
            }
            _ => Ok(Edit::Keep),
        })?)),
        _ => Ok(Edit::Keep),
    })?;
    if found { Ok(rewritten) } else { Err(GraphError::NoInput(name.to_owned())) }
}

/// A ValueInfoProto with symbols for some axes of its tensor's shape.
fn with_free_axes(value: &[u8], name: &str, axes: &[usize]) -> Result<Vec<u8>, GraphError> {
    let mut axis = 0;
    let mut dim = |_: &Field<'_>| {
        let symbol = axes.contains(&axis).then(|| dim_param(&format!("{name}_{axis}")));
        axis += 1;
        Ok(symbol.map_or(Edit::Keep, Edit::Replace))
    };
    nested(value, &[field::VALUE_TYPE, field::TYPE_TENSOR, field::TENSOR_SHAPE, field::SHAPE_DIM], &mut dim)
}

/// Edits the fields at the end of a path of nested messages.
fn nested(message: &[u8], path: &[u64], edit: Editor<'_>) -> Result<Vec<u8>, GraphError> {
    let Some((first, rest)) = path.split_first() else { return Ok(message.to_vec()) };
    rewrite(message, &mut |field| match field.number {
        number if number != *first => Ok(Edit::Keep),
        _ if rest.is_empty() => edit(field),
        _ => Ok(Edit::Replace(nested(field.payload, rest, edit)?)),
    })
}

/// A TensorShapeProto.Dimension with a name instead of a number.
fn dim_param(symbol: &str) -> Vec<u8> {
    let mut dim = Vec::new();
    push_message(&mut dim, field::DIM_PARAM, symbol.as_bytes());
    dim
}

/// The name in a ValueInfoProto.
fn value_name(value: &[u8]) -> Result<&[u8], GraphError> {
    let mut fields = Fields { message: value, at: 0 };
    while let Some(field) = fields.next()? {
        if field.number == field::VALUE_NAME {
            return Ok(field.payload);
        }
    }
    Ok(b"")
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    /// Key, length and payload.
    whole: &'a [u8],
    /// The payload of a length-delimited field; nothing of any other.
    payload: &'a [u8],
}

enum Edit {
    Keep,
    Drop,
    Replace(Vec<u8>),
}

type Editor<'a> = &'a mut dyn FnMut(&Field<'_>) -> Result<Edit, GraphError>;

/// Copies a message field by field.
fn rewrite(message: &[u8], edit: Editor<'_>) -> Result<Vec<u8>, GraphError> {
    let mut copy = Vec::with_capacity(message.len());
    let mut fields = Fields { message, at: 0 };
    while let Some(field) = fields.next()? {
        match edit(&field)? {
            Edit::Keep => copy.extend_from_slice(field.whole),
            Edit::Drop => {}
            Edit::Replace(payload) => push_message(&mut copy, field.number, &payload),
        }
    }
    Ok(copy)
}

/// Walks the fields of a message: protobuf's encoding, wire types 0, 1, 2 and 5.
struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<Field<'a>>, GraphError> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let payload = match key & 7 {
            0 => {
                self.varint()?;
                [].as_slice()
            }
            1 => self.take(8).map(|_| [].as_slice())?,
            5 => self.take(4).map(|_| [].as_slice())?,
            2 => {
                let length = self.varint()?;
                self.take(usize::try_from(length).map_err(|_| GraphError::Wire(start))?)?
            }
            _ => return Err(GraphError::Wire(start)),
        };
        let whole = self.message.get(start..self.at).unwrap_or_default();
        Ok(Some(Field { number: key >> 3, whole, payload }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], GraphError> {
        let rest = self.message.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or(GraphError::Wire(self.at))?;
        self.at += length;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, GraphError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let &[byte] = self.take(1)? else { return Err(GraphError::Wire(self.at)) };
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(GraphError::Wire(self.at))
    }
}

/// Writes a length-delimited field.
fn push_message(target: &mut Vec<u8>, number: u64, payload: &[u8]) {
    push_varint(target, number << 3 | 2);
    push_varint(target, payload.len() as u64);
    target.extend_from_slice(payload);
}

fn push_varint(target: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        target.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    target.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(fields: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        fields.iter().for_each(|(number, payload)| push_message(&mut bytes, *number, payload));
        bytes
    }

    /// A ValueInfoProto: name, and a float tensor of fixed shape.
    fn value(name: &str, shape: &[u8]) -> Vec<u8> {
        let dims: Vec<Vec<u8>> = shape.iter().map(|size| vec![0x08, *size]).collect();
        let dims: Vec<(u64, &[u8])> = dims.iter().map(|dim| (1, dim.as_slice())).collect();
        let mut tensor = vec![0x08, 1];
        push_message(&mut tensor, 2, &message(&dims));
        message(&[(1, name.as_bytes()), (2, &message(&[(1, &tensor)]))])
    }

    fn model() -> Vec<u8> {
        let graph = message(&[
            (2, b"graph"),
            (11, &value("input", &[1, 3, 64, 96])),
            (11, &value("weights", &[8, 3, 3, 3])),
            (12, &value("cls_8", &[1, 96, 1])),
            (13, &value("between", &[1, 8, 32, 48])),
        ]);
        let mut model = vec![0x08, 7];
        push_message(&mut model, 7, &graph);
        // Fixed-size fields that no one knows stay as they are.
        model.extend([0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0x95, 0x06, 9, 9, 9, 9]);
        model
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn batch_height_and_width_become_symbols_and_the_rest_stays() {
        let freed = with_free_sizes(&model(), "input").unwrap();
        for symbol in ["input_0", "input_2", "input_3", "cls_8_0", "cls_8_1"] {
            assert!(contains(&freed, symbol.as_bytes()), "{symbol}");
        }
        for symbol in ["input_1", "cls_8_2", "between"] {
            assert!(!contains(&freed, symbol.as_bytes()), "{symbol}");
        }
        assert!(contains(&freed, &value("weights", &[8, 3, 3, 3])), "no other input is touched");
        assert!(freed.starts_with(&[0x08, 7]) && freed.ends_with(&[0x95, 0x06, 9, 9, 9, 9]));
    }

    #[test]
    fn a_second_pass_changes_nothing() {
        let freed = with_free_sizes(&model(), "input").unwrap();
        assert_eq!(with_free_sizes(&freed, "input").unwrap(), freed);
    }

    #[test]
    fn another_graph_and_broken_bytes_are_errors() {
        assert_eq!(with_free_sizes(&model(), "data").unwrap_err(), GraphError::NoInput("data".into()));
        let whole = model();
        assert!(matches!(with_free_sizes(&whole[..whole.len() / 2], "input"), Err(GraphError::Wire(_))));
        assert!(matches!(with_free_sizes(b"<html></html>", "input"), Err(GraphError::Wire(_))));
        assert_eq!(with_free_sizes(b"", "input").unwrap_err(), GraphError::NoInput("input".into()));
    }

    proptest! {
        #[test]
        fn a_walk_without_edits_is_a_copy(fields in prop::collection::vec((1_u64..1 << 20, prop::collection::vec(any::<u8>(), 0..300)), 0..8)) {
            let fields: Vec<(u64, &[u8])> = fields.iter().map(|(number, payload)| (*number, payload.as_slice())).collect();
            let bytes = message(&fields);
            prop_assert_eq!(rewrite(&bytes, &mut |_| Ok(Edit::Keep)).unwrap(), bytes.clone());
            prop_assert_eq!(rewrite(&bytes, &mut |field| Ok(Edit::Replace(field.payload.to_vec()))).unwrap(), bytes);
        }

        #[test]
        fn no_bytes_make_the_walk_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = with_free_sizes(&bytes, "input");
        }
    }
}
