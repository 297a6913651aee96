//! What the web server answers to which path: the whole site, without a socket.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::pixel::PIXEL_PNG;

/// A response, and how it is delivered.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Time until the first byte.
    pub(crate) wait: Duration,
    /// Bytes of the body after which nothing more comes, on a connection that stays open.
    pub(crate) stalls_after: Option<usize>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Answer { status, ..Answer::default() }
    }

    fn body(content_type: &str, body: Vec<u8>) -> Self {
        Answer { status: 200, headers: vec![("Content-Type", content_type.to_owned())], body, ..Answer::default() }
    }

    fn redirect(location: String) -> Self {
        Answer { status: 302, headers: vec![("Location", location)], ..Answer::default() }
    }
}

/// A folder of photographs and a table of bad manners.
#[derive(Debug)]
pub(crate) struct Site {
    folder: PathBuf,
    /// The folder's pictures, sorted, so that a number always means the same one.
    photos: Vec<String>,
    /// The JPEG that the misbehaving paths serve.
    jpeg: Vec<u8>,
}

impl Site {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut photos = Vec::new();
        for entry in fs::read_dir(folder)? {
            photos.extend(entry?.file_name().into_string().ok().filter(|name| content_type(name).is_some()));
        }
        photos.sort_unstable();
        let none = || io::Error::other(format!("no .jpg file in {}", folder.display()));
        let jpeg = photos.iter().find(|name| content_type(name) == Some("image/jpeg")).ok_or_else(none)?;
        Ok(Site { folder: folder.to_owned(), jpeg: fs::read(folder.join(jpeg))?, photos })
    }

    /// The answer to `target` (path and query), which was asked for `earlier` times before.
    pub(crate) fn answer(&self, target: &str, earlier: usize) -> Answer {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let (folder, name) = path.trim_start_matches('/').split_once('/').unwrap_or(("", path));
        match (folder, name) {
            ("photos", name) => self.photo(name),
            ("moved", name) => Answer::redirect(format!("/photos/{name}")),
            ("counted", name) => self.counted(name),
            ("slow", rest) => self.slow(rest, earlier),
            ("status", code) => Answer::status(number(code).and_then(|code| u16::try_from(code).ok()).unwrap_or(404)),
            (_, "/page.jpg") => {
                Answer::body("text/html; charset=utf-8", b"<!doctype html><title>No picture</title>\n".into())
            }
            (_, "/truncated.jpg") => self.truncated(),
            (_, "/pixel.png") => Answer::body("image/png", PIXEL_PNG.to_vec()),
            (_, "/loop.jpg") => Answer::redirect(target.to_owned()),
            (_, "/stall.jpg") => Answer { stalls_after: Some(self.jpeg.len() / 2), ..self.jpeg() },
            (_, "/robots.jpg") => self.robots(),
            (_, "/flaky.jpg") if earlier == 0 => Answer::status(503),
            (_, "/flaky.jpg") => self.jpeg(),
            _ => Answer::status(404),
        }
    }

    fn jpeg(&self) -> Answer {
        Answer::body("image/jpeg", self.jpeg.clone())
    }

    /// Only names that were in the folder at the start: nothing outside it can be asked for.
    fn photo(&self, name: &str) -> Answer {
        let known = self.photos.iter().find(|known| *known == name);
        let read = known.and_then(|name| fs::read(self.folder.join(name)).ok().zip(content_type(name)));
        read.map_or_else(|| Answer::status(404), |(body, content_type)| Answer::body(content_type, body))
    }

    fn counted(&self, name: &str) -> Answer {
        let count = self.photos.len();
        let photo = number(name).and_then(|number| self.photos.get(number.checked_rem(count)?));
        photo.map_or_else(|| Answer::status(404), |name| self.photo(name))
    }

    /// `/slow/MILLISECONDS/any/other/path`: that path's answer, late.
    fn slow(&self, rest: &str, earlier: usize) -> Answer {
        let late = rest.split_once('/').and_then(|(wait, path)| Some((number(wait)?, path)));
        late.map_or_else(
            || Answer::status(404),
            |(wait, path)| Answer {
                wait: Duration::from_millis(wait as u64),
                ..self.answer(&format!("/{path}"), earlier)
            },
        )
    }

    fn truncated(&self) -> Answer {
        let mut answer = self.jpeg();
        answer.body.truncate(self.jpeg.len() * 2 / 5);
        answer
    }

    fn robots(&self) -> Answer {
        let mut answer = self.jpeg();
        answer.headers.push(("X-Robots-Tag", "noai".to_owned()));
        answer
    }
}

/// The number that a name like `17.jpg` starts with.
fn number(name: &str) -> Option<usize> {
    name.split('.').next()?.parse().ok()
}

fn content_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "jpg" | "jpeg" => Some("image/jpeg"),
        "png" => Some("image/png"),
        "webp" => Some("image/webp"),
        "gif" => Some("image/gif"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> (tempfile::TempDir, Site) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), b"a picture").unwrap();
        fs::write(folder.path().join("b.jpg"), [7; 100]).unwrap();
        fs::write(folder.path().join("list.txt"), b"no picture").unwrap();
        let site = Site::open(folder.path()).unwrap();
        (folder, site)
    }

    #[test]
    fn numbers_walk_round_the_folder_in_the_order_of_names() {
        let (_folder, site) = site();
        for (number, name) in [(0, "a.png"), (1, "b.jpg"), (2, "a.png"), (19_999, "b.jpg")] {
            assert_eq!(site.answer(&format!("/counted/{number}.jpg"), 0), site.answer(&format!("/photos/{name}"), 0));
        }
        assert_eq!(site.answer("/counted/x.jpg", 0).status, 404);
    }

    #[test]
    fn nothing_but_the_folders_pictures_is_served() {
        let (folder, site) = site();
        fs::write(folder.path().with_extension("jpg"), b"outside").unwrap();
        let outside = format!("/photos/../{}.jpg", folder.path().file_name().unwrap().to_str().unwrap());
        for target in ["/photos/list.txt", "/photos/", "/missing.jpg", "/", &outside] {
            assert_eq!(site.answer(target, 0).status, 404, "{target}");
        }
        fs::remove_file(folder.path().with_extension("jpg")).unwrap();
    }

    #[test]
    fn a_flaky_path_answers_only_the_second_time() {
        let (_folder, site) = site();
        assert_eq!(site.answer("/flaky.jpg?n=1", 0).status, 503);
        assert_eq!(site.answer("/flaky.jpg?n=1", 1), site.answer("/photos/b.jpg", 0));
    }

    #[test]
    fn each_bad_manner_is_the_one_its_name_says() {
        let (_folder, site) = site();
        assert_eq!(site.answer("/truncated.jpg", 0).body.len(), 40);
        assert_eq!(site.answer("/stall.jpg", 0).stalls_after, Some(50));
        assert!(site.answer("/robots.jpg", 0).headers.contains(&("X-Robots-Tag", "noai".to_owned())));
        assert_eq!(site.answer("/loop.jpg", 0).headers, [("Location", "/loop.jpg".to_owned())]);
        assert_eq!(site.answer("/moved/b.jpg", 0).headers, [("Location", "/photos/b.jpg".to_owned())]);
        assert_eq!(site.answer("/status/429.jpg", 0).status, 429);
        assert_eq!(site.answer("/pixel.png", 0).body, PIXEL_PNG);
        assert!(site.answer("/page.jpg", 0).body.starts_with(b"<!doctype html>"));
        let late = site.answer("/slow/1500/photos/b.jpg", 0);
        assert_eq!((late.wait, late.body), (Duration::from_millis(1500), vec![7; 100]));
    }

    #[test]
    fn a_folder_without_a_jpeg_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Site::open(folder.path()).unwrap_err().to_string().contains("no .jpg file"));
    }
}
