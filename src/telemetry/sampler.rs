use opentelemetry_sdk::trace::Sampler;

/// Of traces that begin here, as long as nobody asks for more: three a second at 3,307 URLs a second.
const RATIO: f64 = 0.001;

/// Which traces are exported: what `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say; without them as the parent
/// was, and of those without a parent one in a thousand.
///
/// A value that is not known is warned of and ignored, as the specification wants it. The SDK would then export every
/// trace.
pub(super) fn from_variables(variable: &impl Fn(&str) -> Option<String>) -> Sampler {
    let ratio = Sampler::TraceIdRatioBased(match variable("OTEL_TRACES_SAMPLER_ARG") {
        None => RATIO,
        Some(text) => match text.parse() {
            Ok(ratio @ 0.0..=1.0) => ratio,
            _ => {
                tracing::warn!(text, "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1: {RATIO} is taken");
                RATIO
            }
        },
    });
    let by_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
    match variable("OTEL_TRACES_SAMPLER").as_deref() {
        None | Some("parentbased_traceidratio") => by_parent(ratio),
        Some("traceidratio") => ratio,
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("parentbased_always_on") => by_parent(Sampler::AlwaysOn),
        Some("parentbased_always_off") => by_parent(Sampler::AlwaysOff),
        Some(name) => {
            tracing::warn!(name, "this OTEL_TRACES_SAMPLER is not known: parentbased_traceidratio is taken");
            by_parent(ratio)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: Option<&str>, argument: Option<&str>) -> String {
        let variable = |asked: &str| if asked.ends_with("_ARG") { argument } else { name }.map(str::to_owned);
        format!("{:?}", from_variables(&variable))
    }

    #[test]
    fn the_standard_variables_say_which_traces_are_exported() {
        assert_eq!(sampler(None, None), "ParentBased(TraceIdRatioBased(0.001))");
        assert_eq!(sampler(None, Some("0.5")), "ParentBased(TraceIdRatioBased(0.5))");
        assert_eq!(sampler(Some("parentbased_traceidratio"), Some("1")), "ParentBased(TraceIdRatioBased(1.0))");
        assert_eq!(sampler(Some("traceidratio"), Some("0.1")), "TraceIdRatioBased(0.1)");
        assert_eq!(sampler(Some("always_on"), None), "AlwaysOn");
        assert_eq!(sampler(Some("always_off"), None), "AlwaysOff");
        assert_eq!(sampler(Some("parentbased_always_on"), None), "ParentBased(AlwaysOn)");
        assert_eq!(sampler(Some("parentbased_always_off"), None), "ParentBased(AlwaysOff)");
    }

    #[test]
    fn a_slip_does_not_export_everything() {
        for name in [None, Some("trace_id_ratio"), Some("xray")] {
            for argument in [None, Some("10%"), Some("2"), Some("-1"), Some("NaN")] {
                assert_eq!(sampler(name, argument), "ParentBased(TraceIdRatioBased(0.001))", "{name:?} {argument:?}");
            }
        }
    }
}
