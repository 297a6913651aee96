//! JSON Lines: one object a line, by schemas/result.schema.json.

use std::io::{self, Write};

use super::RowWriter;
use crate::domain::ResultRow;

pub(super) struct JsonLines<W>(W);

impl<W: Write> JsonLines<W> {
    pub(super) fn new(output: W) -> Self {
        JsonLines(output)
    }
}

impl<W: Write> RowWriter for JsonLines<W> {
    fn row(&mut self, row: ResultRow) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &row)?;
        self.0.write_all(b"\n")
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}
