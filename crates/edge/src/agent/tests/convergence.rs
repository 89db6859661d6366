//! From any state to any deployment: it is reached, and what need not be touched is not touched.

use super::{Bench, deployment, module};
use crate::runtime::ModuleState;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[derive(Debug, Clone)]
struct Entry {
    image: u8,
    env: bool,
    stopped: bool,
    policy: usize,
    order: Option<u32>,
    version: u8,
}

fn entry() -> impl Strategy<Value = Entry> {
    (0..2_u8, any::<bool>(), prop::bool::weighted(0.2), 0..4_usize, prop::option::of(0..3_u32), 0..3_u8)
        .prop_map(|(image, env, stopped, policy, order, version)| Entry {
            image,
            env,
            stopped,
            policy,
            order,
            version,
        })
}

fn modules() -> impl Strategy<Value = std::collections::BTreeMap<String, Entry>> {
    prop::collection::btree_map("[a-e]", entry(), 0..5)
}

impl Entry {
    fn json(&self) -> Value {
        let policies = ["never", "on-failure", "on-unhealthy", "always"];
        let mut more = json!({
            "status": if self.stopped { "stopped" } else { "running" },
            "restartPolicy": policies[self.policy],
            "version": self.version.to_string(),
        });
        if let Some(order) = self.order {
            more["startupOrder"] = order.into();
        }
        if self.env {
            more["env"] = json!({"A": {"value": "1"}});
        }
        module(&format!("i{}", self.image), more)
    }

    /// Whether the process may stay as it is.
    fn same_process(&self, other: &Self) -> bool {
        (self.image, self.env) == (other.image, other.env)
    }
}

fn all_of(entries: &std::collections::BTreeMap<String, Entry>) -> Value {
    Value::Object(entries.iter().map(|(name, entry)| (name.clone(), entry.json())).collect::<Map<_, _>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_deployment_is_reached_from_any_state(
        before in modules(),
        after in modules(),
        exits in prop::collection::btree_map("[a-e]", 0..2_i64, 0..3),
        failing in prop::collection::btree_map("(prepare|create|replace|start|stop|remove) [a-e]", 1..3_u32, 0..4),
        restarted in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let mut engine = bench.engine(0).await;
            bench.settle(&mut engine, &deployment(1, &all_of(&before)), |_| false).await;
            let mut ended = Vec::new();
            for (name, code) in &exits {
                if bench.runtime.state(name) == Some(ModuleState::Running) {
                    bench.runtime.exit(name, *code);
                    ended.push(name.clone());
                }
            }
            if restarted {
                engine = bench.engine(1).await;
            }
            for (call, times) in &failing {
                bench.runtime.fail(call, *times);
            }
            let starts: Vec<u32> = before.keys().map(|name| bench.runtime.starts(name)).collect();
            let second = deployment(2, &all_of(&after));
            bench.settle(&mut engine, &second, |_| false).await;
            for (name, entry) in &after {
                let info = bench.runtime.info(name);
                prop_assert_eq!(&info.spec.image, &format!("i{}", entry.image));
                prop_assert_eq!(info.spec.env.contains_key("A"), entry.env);
                let unfinished = ended.contains(name) && entry.policy == 0 && before[name].same_process(entry);
                if !unfinished {
                    prop_assert_eq!(info.state == ModuleState::Running, !entry.stopped, "{}", name);
                }
            }
            for name in before.keys().filter(|name| !after.contains_key(*name)) {
                prop_assert_eq!(bench.runtime.state(name), None);
            }
            for ((name, entry), starts) in before.iter().zip(starts) {
                let untouched = after.get(name).is_some_and(|after| {
                    after.same_process(entry) && !entry.stopped && !after.stopped && !ended.contains(name)
                });
                if untouched {
                    prop_assert_eq!(bench.runtime.starts(name), starts, "{} was restarted", name);
                }
            }
            bench.runtime.calls();
            bench.turn(&mut engine, &second).await;
            prop_assert_eq!(bench.runtime.calls(), Vec::<String>::new(), "a second time there is nothing to do");
            Ok(())
        })?;
    }
}
