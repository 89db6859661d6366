//! Every row of the table of errors over MQTT, which has no error packet.

use crate::fakes::errors::{ROWS, code};
use ironbrook_model::MqttAction;

// ERR-03
#[test]
fn err_03_what_mqtt_makes_of_every_code() {
    for (number, name, _, refused_with, then) in ROWS {
        let code = code(*number);
        assert_eq!(code.mqtt_action(true), MqttAction::Refuse(*refused_with), "{name}");
        assert_eq!(code.mqtt_action(false), *then, "{name}");
    }
}
