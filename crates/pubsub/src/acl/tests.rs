use super::*;
use std::num::NonZeroU32;

const FEW: NonZeroU32 = NonZeroU32::new(10).unwrap();

fn rule(allow: bool, access: Access, filter: &str) -> Rule {
    Rule::new(None, allow, access, filter).unwrap()
}

#[test]
fn nobody_may_anything_by_default() {
    let acl = Acl::new();
    assert!(!acl.authenticate(None, None));
    let rules = acl.rules_of(None, "c");
    assert!(!rules.may_publish("a") && !rules.may_subscribe("a"));
}

#[test]
fn passwords_are_checked_and_never_shown() {
    let hash = PasswordHash::with(b"secret", FEW).unwrap();
    let text = hash.to_string();
    assert_eq!(text.parse::<PasswordHash>().unwrap(), hash);
    assert!(!format!("{hash:?}").contains(&text[20..]) && !text.contains("secret"));
    let acl = Acl::new().user("u", hash);
    assert!(acl.authenticate(Some("u"), Some(b"secret")));
    assert!(!acl.authenticate(Some("u"), Some(b"Secret")));
    assert!(!acl.authenticate(Some("u"), None));
    assert!(!acl.authenticate(Some("v"), Some(b"secret")));
    for wrong in
        ["", "x", "pbkdf2-sha256$0$AAAAAAAAAAA$AA", "pbkdf2-sha256$99999999$AAAAAAAAAAA$AA", "md5$1$a$b"]
    {
        assert_eq!(wrong.parse::<PasswordHash>(), Err(PasswordHashError::Format), "{wrong}");
    }
}

#[test]
fn the_first_rule_decides_and_names_are_filled_in() {
    let acl = Acl::new()
        .rule(rule(false, Access::Publish, "plant/secret/#"))
        .rule(rule(true, Access::Publish, "plant/#"))
        .rule(rule(true, Access::Publish, "%u/%c/up"))
        .rule(Rule::new(Some("boss"), true, Access::Publish, "#").unwrap());
    let rules = acl.rules_of(Some("ann"), "pump");
    assert!(rules.may_publish("plant/x") && rules.may_publish("ann/pump/up"));
    assert!(
        !rules.may_publish("plant/secret/x") && !rules.may_publish("ann/other/up") && !rules.may_publish("x")
    );
    let boss = acl.rules_of(Some("boss"), "pump");
    assert!(boss.may_publish("x") && !boss.may_publish("plant/secret/x") && !boss.may_publish("$SYS/x"));
}

#[test]
fn names_with_wildcards_or_placeholders_open_nothing() {
    let acl = Acl::new().rule(rule(true, Access::Subscribe, "home/%c/#"));
    for client in ["#", "+", "a/b", "", "+/x"] {
        assert!(!acl.rules_of(None, client).may_subscribe("home/a/b/c"), "{client}");
    }
    assert!(acl.rules_of(None, "%c").may_subscribe("home/%c/x"));
    assert!(!acl.rules_of(None, "%u").may_subscribe("home//x"));
    let acl =
        Acl::new().rule(rule(false, Access::Subscribe, "home/%u")).rule(rule(true, Access::Subscribe, "#"));
    assert!(!acl.rules_of(Some("+"), "c").may_subscribe("home/x"));
}

#[test]
fn a_subscription_may_not_reach_around_a_denial() {
    let acl =
        Acl::new().rule(rule(false, Access::Subscribe, "secret/#")).rule(rule(true, Access::Subscribe, "#"));
    let rules = acl.rules_of(None, "c");
    for denied in ["#", "+/x", "secret", "secret/x", "+", "secret/#"] {
        assert!(!rules.may_subscribe(denied), "{denied}");
    }
    assert!(rules.may_subscribe("open/#"));
    assert!(!rules.may_subscribe("$SYS/#"));
}

#[test]
fn a_rule_is_checked() {
    assert!(Rule::new(None, true, Access::Publish, "a#").is_err());
    assert_eq!(Rule::new(None, true, Access::Subscribe, "$share/g/a"), Err(RuleError::Shared));
}

#[test]
fn a_rule_for_a_filter_literally_is_about_no_other() {
    let acl = Acl::new()
        .rule(rule(false, Access::SubscribeLiterally, "a/b"))
        .rule(rule(false, Access::SubscribeLiterally, "own/%u"))
        .rule(rule(true, Access::Subscribe, "#"));
    let rules = acl.rules_of(Some("u"), "c");
    for (filter, allowed) in [("a/b", false), ("a/+", true), ("#", true), ("own/u", false), ("own/v", true)] {
        assert_eq!(rules.may_subscribe(filter), allowed, "{filter}");
    }
    // A user name that fits no place would let it through.
    assert!(!acl.rules_of(Some("+"), "c").may_subscribe("own/v"));
    let only = Acl::new().rule(rule(true, Access::SubscribeLiterally, "#"));
    assert!(only.rules_of(None, "c").may_subscribe("#") && !only.rules_of(None, "c").may_subscribe("a"));
}

#[test]
fn the_broker_s_own_side_may_do_everything_and_nobody_logs_in_as_it() {
    let deny = Rule::new(None, false, Access::Publish, "#").unwrap();
    let hash = PasswordHash::new(b"p").unwrap();
    let acl = Acl::new().rule(deny).user(INTERNAL_USER, hash);
    let rules = acl.rules_of(Some(INTERNAL_USER), "bridge");
    assert!(rules.may_publish("a/b") && rules.may_subscribe("a/#"));
    assert!(!rules.may_publish("$SYS/a"));
    assert!(!acl.authenticate(Some(INTERNAL_USER), Some(b"p")));
    assert!(!acl.rules_of(Some("other"), "bridge").may_publish("a/b"));
}
