//! URL lists: one URL a line, from files, standard input or the command line, streamed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

use crate::domain::MAX_URL_RECORD_BYTES;

/// Where URLs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A list in a file: plain text, gzip or zstd.
    File(PathBuf),
    /// A list on standard input, likewise.
    Stdin,
    /// One URL.
    Url(String),
}

/// What some editors write before the first line of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A list that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the URL list {name}: {error}; {}", self.advice())]
pub struct ListError {
    name: String,
    error: io::Error,
}

impl ListError {
    fn advice(&self) -> String {
        match self.error.kind() {
            io::ErrorKind::NotFound if looks_like_url(&self.name) => format!("did you mean https://{}?", self.name),
            io::ErrorKind::NotFound => "check the name".to_owned(),
            io::ErrorKind::PermissionDenied => "check who may read it".to_owned(),
            io::ErrorKind::IsADirectory => "name a file in it".to_owned(),
            _ => "check that the list is whole".to_owned(),
        }
    }
}

/// `example.org/a.jpg`, where no folder `example.org` is.
fn looks_like_url(name: &str) -> bool {
    let Some((host, _)) = name.split_once('/') else { return name.starts_with("www.") };
    host.trim_matches('.').contains('.') && !Path::new(host).exists()
}

impl Input {
    /// What a word of the command line means: `-`, something with a scheme, or a file's name.
    pub fn from_argument(word: &str) -> Self {
        match word {
            "-" => Input::Stdin,
            url if url.contains("://") => Input::Url(url.to_owned()),
            path => Input::File(PathBuf::from(path)),
        }
    }

    /// Opens it. Nothing is read from standard input yet.
    ///
    /// # Errors
    /// When the file is not there or may not be read.
    pub fn open(&self) -> Result<Lines, ListError> {
        let (name, source): (String, Box<dyn Read + Send>) = match self {
            Input::File(path) => (path.display().to_string(), Box::new(open_file(path)?)),
            Input::Stdin => ("on standard input".to_owned(), Box::new(io::stdin())),
            Input::Url(url) => (url.clone(), Box::new(Cursor::new(url.clone().into_bytes()))),
        };
        Ok(Lines { name, source: Some(source), reader: None, started: false, failed: false })
    }

    /// Whether its lines can be counted beforehand, since it can be read twice.
    pub fn is_rereadable(&self) -> bool {
        match self {
            Input::File(path) => path.metadata().is_ok_and(|metadata| metadata.is_file()),
            Input::Stdin => false,
            Input::Url(_) => true,
        }
    }
}

fn open_file(path: &Path) -> Result<File, ListError> {
    let failed = |error| ListError { name: path.display().to_string(), error };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file")));
    }
    Ok(file)
}

/// The URL lines of one input: no comments, no blank lines. Memory does not grow with the list.
pub struct Lines {
    name: String,
    /// Until the first read, which tells plain text from a compressed list.
    source: Option<Box<dyn Read + Send>>,
    reader: Option<Box<dyn BufRead + Send>>,
    /// Whether the first line was read.
    started: bool,
    failed: bool,
}

impl Lines {
    fn reader(&mut self) -> io::Result<Option<&mut Box<dyn BufRead + Send>>> {
        if let Some(source) = self.source.take() {
            self.reader = Some(decompressed(source)?);
        }
        Ok(self.reader.as_mut())
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(reader) = self.reader()? else { return Ok(None) };
            let mut line = Vec::new();
            if !read_line(reader, &mut line)? {
                return Ok(None);
            }
            let first = !std::mem::replace(&mut self.started, true);
            let mark: &[u8] = if first { BYTE_ORDER_MARK } else { b"" };
            let text = line.strip_prefix(mark).unwrap_or(&line).trim_ascii();
            if !text.is_empty() && !text.starts_with(b"#") {
                return Ok(Some(text.to_vec()));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Vec<u8>, ListError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let line = self.next_line();
        self.failed = line.is_err();
        line.map_err(|error| ListError { name: self.name.clone(), error }).transpose()
    }
}

/// Tells gzip and zstd by their first bytes, whatever the file is called.
fn decompressed(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut magic = Vec::new();
    source.by_ref().take(4).read_to_end(&mut magic)?;
    let whole = BufReader::new(Cursor::new(magic.clone()).chain(source));
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(whole)?)),
        _ => Box::new(whole),
    })
}

/// Reads one line; of one longer than any record may be, only so much that it is still too long.
/// Returns false at the end.
fn read_line(reader: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    const KEPT: usize = MAX_URL_RECORD_BYTES + 1;
    let mut any = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let (part, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end, true),
            None => (buffer.len(), false),
        };
        let room = KEPT.saturating_sub(line.len()).min(part);
        line.extend(buffer.iter().take(room));
        let used = part + usize::from(ended);
        reader.consume(used);
        if ended {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let lines = Input::File(file.path().to_owned()).open().unwrap();
        lines.map(|line| String::from_utf8_lossy(&line.unwrap()).into_owned()).collect()
    }

    const LIST: &[u8] =
        b"# pictures\n\nhttp://a.example/1\r\n  http://a.example/2  \n#http://a.example/3\nlast without newline";

    #[test]
    fn comments_and_blank_lines_are_no_urls_and_the_last_line_needs_no_newline() {
        assert_eq!(lines_of(LIST), ["http://a.example/1", "http://a.example/2", "last without newline"]);
        assert!(lines_of(b"").is_empty());
    }

    #[test]
    fn a_byte_order_mark_belongs_to_no_url() {
        let marked = [BYTE_ORDER_MARK, LIST].concat();
        assert_eq!(lines_of(&marked), lines_of(LIST), "before a comment");
        let marked = [BYTE_ORDER_MARK, b"http://a.example/1\n", BYTE_ORDER_MARK, b"http://a.example/2"].concat();
        assert_eq!(lines_of(&marked), ["http://a.example/1", "\u{feff}http://a.example/2"], "only the first is one");
        assert_eq!(lines_of(&zstd::encode_all(marked.as_slice(), 3).unwrap()), lines_of(&marked));
        assert!(lines_of(BYTE_ORDER_MARK).is_empty());
    }

    #[test]
    fn gzip_and_zstd_are_told_by_their_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(LIST).unwrap();
        // Two members one after the other, as `cat a.gz b.gz` makes them.
        let mut twice = gzip.finish().unwrap();
        twice.extend(twice.clone());
        assert_eq!(lines_of(&twice).len(), 6, "the last line of one member continues in the next");
        assert_eq!(lines_of(&zstd::encode_all(LIST, 3).unwrap()), lines_of(LIST));
    }

    #[test]
    fn a_line_beyond_every_limit_takes_bounded_memory_and_stays_too_long() {
        let mut list = vec![b'x'; 3_000_000];
        list.extend(b"\nhttp://a.example/after");
        let lines = lines_of(&list);
        assert_eq!(lines[0].len(), MAX_URL_RECORD_BYTES + 1);
        assert_eq!(lines[1], "http://a.example/after");
    }

    #[test]
    fn a_broken_list_gives_what_it_has_and_then_one_error_that_names_it() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        (0..5000).for_each(|index| writeln!(gzip, "http://a.example/{index}").unwrap());
        let whole = gzip.finish().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let results: Vec<_> = Input::File(file.path().to_owned()).open().unwrap().collect();
        let (last, before) = results.split_last().unwrap();
        assert!(before.len() > 100 && before.iter().all(Result::is_ok));
        assert!(last.as_ref().unwrap_err().to_string().contains(file.path().to_str().unwrap()));
    }

    #[test]
    fn what_cannot_be_opened_says_so_before_anything_starts() {
        let error = |path: &str| Input::File(path.into()).open().err().unwrap().to_string();
        for file in ["no/such/list.txt", "list.tvt", "./no.such/list", "../no.such/list", "/no.such/list"] {
            let missing = error(file);
            assert!(missing.contains(file) && missing.ends_with("; check the name"), "{missing}");
        }
        for url in ["no.example/a.jpg", "www.no.example"] {
            let missing = error(url);
            assert!(missing.ends_with(&format!("; did you mean https://{url}?")), "{missing}");
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = error(folder.path().to_str().unwrap());
        assert!(folder.ends_with("it is a folder, not a file; name a file in it"), "{folder}");
    }

    #[test]
    fn words_of_the_command_line_are_files_urls_or_standard_input() {
        assert_eq!(Input::from_argument("-"), Input::Stdin);
        assert_eq!(Input::from_argument("https://a.example/x"), Input::Url("https://a.example/x".into()));
        assert_eq!(Input::from_argument("list.txt.gz"), Input::File("list.txt.gz".into()));
    }
}
