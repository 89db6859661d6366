//! Topics with a device in them: `plant/{device}/telemetry`.

use ironbrook_model::DeviceId;
use ironbrook_pubsub::topic;
use std::str::FromStr;

/// The level that stands for the device.
const DEVICE: &str = "{device}";

/// A topic in which one level is the id of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// With its slash, if anything stands before.
    before: String,
    after: String,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no topic with a device: {reason}; write it like plant/{{device}}/telemetry")]
pub struct TemplateError {
    text: String,
    reason: &'static str,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let wrong = |reason| Err(TemplateError { text: text.to_owned(), reason });
        let levels: Vec<_> = text.split('/').collect();
        let Some(at) = levels.iter().position(|level| *level == DEVICE) else {
            return wrong("no level is {device}");
        };
        let (before, after) = text.split_at(levels[..at].iter().map(|level| level.len() + 1).sum());
        let after = &after[DEVICE.len()..];
        if before.contains(['{', '}']) || after.contains(['{', '}']) {
            return wrong("{device} stands once, as a whole level, and nothing else is in braces");
        }
        if topic::Filter::parse(format!("{before}x{after}").into()).is_err() || text.contains(['+', '#']) {
            return wrong("it holds a wildcard or what no topic may hold");
        }
        if text.starts_with('$') {
            return wrong("topics that begin with $ are the broker's own");
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

impl Template {
    /// The filter for the topics of all devices.
    pub fn filter(&self) -> String {
        format!("{}+{}", self.before, self.after)
    }

    /// The device whose topic this is; `None` for other topics and for what is no id of a device.
    pub fn device_of(&self, topic: &str) -> Option<DeviceId> {
        let level = topic.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        if level.contains('/') { None } else { DeviceId::new(level).ok() }
    }

    /// The topic of a device; `None` where its id cannot be a level of a topic.
    pub fn topic_of(&self, device: &DeviceId) -> Option<String> {
        let level = device.as_str();
        (!level.contains(['/', '+', '#'])).then(|| format!("{}{level}{}", self.before, self.after))
    }

    /// Whether some topic is of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        topic::overlaps(&self.filter(), &other.filter())
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{DEVICE}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn topics_and_devices_belong_together() {
        let device = DeviceId::new("pump-7").unwrap();
        for text in ["plant/{device}/telemetry", "{device}", "{device}/up", "a/b/{device}"] {
            let template = template(text);
            let topic = template.topic_of(&device).unwrap();
            assert_eq!(topic, text.replace("{device}", "pump-7"));
            assert_eq!(template.device_of(&topic), Some(device.clone()), "{text}");
            assert!(topic::matches(&template.filter(), &topic));
            assert_eq!(template.to_string(), text);
        }
        let telemetry = template("plant/{device}/telemetry");
        for other in
            ["plant//telemetry", "plant/a/b/telemetry", "plant/a", "plant/a b/telemetry", "plant/telemetry"]
        {
            assert_eq!(telemetry.device_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        for text in [
            "",
            "plant/telemetry",
            "plant/x{device}/y",
            "{device}/{device}",
            "{device}/{other}",
            "+/{device}",
            "{device}/#",
            "$SYS/{device}",
        ] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains("plant/{device}/telemetry"), "{error}");
        }
    }

    #[test]
    fn templates_overlap_where_one_topic_is_of_both() {
        assert!(template("a/{device}").overlaps(&template("{device}/b")));
        assert!(!template("a/{device}/up").overlaps(&template("a/{device}/down")));
        assert!(!template("a/{device}").overlaps(&template("a/{device}/down")));
    }
}
