//! Bodies read as far as conditions look into them: what they do not name is skipped, not built.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use smallvec::SmallVec;
use std::fmt;

/// The members of a body that conditions name, by the place of their names; those that are missing are not in it.
#[derive(Debug, Default)]
pub(super) struct Members(SmallVec<[(usize, Value); 2]>);

impl Members {
    /// Reads a body; `None` if it is no JSON. What is no object has no members.
    ///
    /// What is skipped is looked at for its syntax alone, so a number that no `f64` can hold is no error there.
    pub(super) fn read(text: &str, wanted: &[String]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = Wanted(wanted).deserialize(&mut reader).ok()?;
        reader.end().ok().map(|()| members)
    }

    /// The member of the name at a place.
    pub(super) fn get(&self, place: usize) -> Option<&Value> {
        self.0.iter().find(|(found, _)| *found == place).map(|(_, value)| value)
    }

    fn put(&mut self, place: usize, value: Value) {
        // The last of members of one name counts, as where all are read.
        match self.0.iter_mut().find(|(found, _)| *found == place) {
            Some((_, old)) => *old = value,
            None => self.0.push((place, value)),
        }
    }
}

/// The members to be read.
#[derive(Clone, Copy)]
struct Wanted<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Members;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some(place) = map.next_key_seed(Name(self.0))? {
            match place {
                Some(place) => members.put(place, map.next_value()?),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(members)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Members, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Members::default())
    }

    fn visit_unit<E>(self) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Members, E> {
        Ok(Members::default())
    }
}

/// The place of a member's name, if it is wanted.
struct Name<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, found: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name == found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The members that were read, as an object.
    fn read(text: &str, members: &[&str]) -> Option<Value> {
        let names: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
        let found = Members::read(text, &names)?;
        let member = |(place, name): (usize, &String)| Some((name.clone(), found.get(place)?.clone()));
        Some(Value::Object(names.iter().enumerate().filter_map(member).collect()))
    }

    #[test]
    fn only_what_is_named_is_built_and_the_last_of_a_name_counts() {
        let text = r#"{"a":{"b":[1,{"c":2}]},"x":"\u00e9","v":1,"skipped":[[{}]],"v":2.5}"#;
        assert_eq!(
            read(text, &["v", "a"]).unwrap(),
            serde_json::json!({"a": {"b": [1, {"c": 2}]}, "v": 2.5})
        );
        assert_eq!(read(r#"{"\u0076":3}"#, &["v"]).unwrap(), serde_json::json!({"v": 3}));
        assert_eq!(read(text, &["z"]).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_is_no_json_is_nothing_also_where_it_is_skipped() {
        for text in [
            "",
            "{",
            "{\"v\":1} x",
            "{\"a\":01,\"v\":1}",
            "{\"a\":\"\n\",\"v\":1}",
            "{\"v\":1,}",
            "[1,]",
            "nul",
        ] {
            assert_eq!(read(text, &["v"]), None, "{text}");
        }
        for text in ["[{\"v\":1}]", "1", "-1", "1.5", "\"v\"", "true", "null"] {
            assert_eq!(read(text, &["v"]), Some(serde_json::json!({})), "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-d]|.{0,3}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn named_members_are_those_of_the_whole(body in json(), cut in any::<prop::sample::Index>()) {
            let text = body.to_string();
            let whole: Value = serde_json::from_str(&text).unwrap();
            let found = read(&text, &["a", "c"]).unwrap();
            for name in ["a", "c"] {
                prop_assert_eq!(found.get(name), whole.get(name));
            }
            prop_assert!(["b", "d"].iter().all(|name| found.get(name).is_none()));
            // Cut short anywhere, both or neither can be read.
            let at = (0..=cut.index(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let part = &text[..at];
            prop_assert_eq!(read(part, &["a"]).is_some(), serde_json::from_str::<Value>(part).is_ok());
        }
    }
}
