/// The name by which a server may address facemill alone.
const OUR_TOKEN: &str = "facemill";

/// Directives that say no to what facemill does.
const OPT_OUTS: [&str; 5] = ["noai", "noimageai", "noindex", "noimageindex", "none"];

/// Directives with a value behind a colon, which is therefore no robot's name.
const VALUED: [&str; 4] = ["unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"];

/// Whether an `X-Robots-Tag` header opts out of such use, for all robots or for ours.
///
/// A value is a list of directives; a robot's name and a colon in it narrow what follows to that robot.
pub(super) fn opts_out<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    values.into_iter().any(|value| {
        let mut concerns_us = true;
        value.split(',').any(|item| {
            let mut directive = item.trim();
            if let Some((name, rest)) = directive.split_once(':')
                && !VALUED.iter().any(|valued| name.trim().eq_ignore_ascii_case(valued))
            {
                concerns_us = name.trim().eq_ignore_ascii_case(OUR_TOKEN);
                directive = rest.trim();
            }
            concerns_us && OPT_OUTS.iter().any(|no| directive.eq_ignore_ascii_case(no))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opt_out_is_found_however_it_is_written() {
        for value in [
            "noai",
            "NoImageAI",
            "noindex, nofollow",
            "nofollow,none",
            "facemill: noindex",
            "FaceMill:noai, nofollow",
            "facemill: nofollow, noimageindex",
            "otherbot: nofollow, facemill: noai",
            "unavailable_after: 25 Jun 2030 15:00:00 PST, noai",
        ] {
            assert!(opts_out([value]), "{value}");
        }
        assert!(opts_out(["nosnippet", "noai"]));
    }

    #[test]
    fn other_directives_and_other_robots_are_no_opt_out() {
        for value in [
            "",
            "all",
            "nofollow",
            "noarchive, nosnippet",
            "max-image-preview: none",
            "otherbot: noindex, noai",
            "facemill: all, otherbot: noai",
            "noaiohnoai",
        ] {
            assert!(!opts_out([value]), "{value}");
        }
        assert!(!opts_out([]));
    }

    #[test]
    fn a_robots_name_narrows_its_own_header_only() {
        assert!(opts_out(["otherbot: nofollow", "noindex"]));
    }
}
