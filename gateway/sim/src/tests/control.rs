use serde_json::{Value, json};

use super::*;

struct Control {
    base: String,
    client: reqwest::Client,
}

impl Control {
    fn of(building: &Building) -> Self {
        Self { base: format!("http://{}", building.addresses().control), client: client() }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("it answers");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.expect("it answers");
        answer.text().await.expect("a text")
    }
}

#[tokio::test]
async fn stories_are_listed_started_and_cleared_over_http() {
    let building = building().await;
    let control = Control::of(&building);
    let list = control.get("/stories").await;
    assert!(Story::ALL.iter().all(|story| list.contains(story.name())));
    assert_eq!(control.post("/story/meter-dies?target=m-203", Value::Null).await.0, 200);
    assert!(!building.device("m-203").expect("a meter").answers);
    assert!(control.get("/stories").await.contains("[m-203: dead]"));
    assert_eq!(control.post("/story/meter-dies/clear", Value::Null).await.0, 200);
    assert!(building.device("m-203").expect("a meter").answers);
    let (status, why) = control.post("/story/flood", Value::Null).await;
    assert_eq!(status, 400);
    assert!(why.contains("fire-alarm"), "{why}");
}

#[tokio::test]
async fn everything_that_can_be_ordered_typed_can_be_ordered_over_http() {
    let building = building().await;
    let control = Control::of(&building);
    for (path, body) in [
        ("/fault", json!({ "line": { "line": "rs485-a", "fault": { "delay_ms": 30, "drop_percent": 5 } } })),
        ("/fault", json!({ "device": { "device": "m-101", "life": "dead" } })),
        ("/fault", json!({ "contactor": { "device": "m-102", "contactor": "stuck" } })),
        ("/fault", json!({ "broker": { "action": "drop-connections" } })),
        ("/register", json!({ "device": "io", "table": "holding", "address": 0, "value": 1500 })),
        ("/load", json!({ "device": "m-103", "watts": 100.0 })),
        ("/counter", json!({ "device": "m-104", "value": 5000 })),
        ("/detector", json!({ "number": 3, "state": "trouble" })),
        ("/call-point", json!({ "zone": 2, "state": "fire" })),
        ("/fault", json!({ "sump-pump": { "pump": "tripped" } })),
        ("/time", json!({ "time_of_day_ms": 1000 })),
        ("/person/zhang", json!({ "mode": { "busy": { "retry_after": 3 } }, "acknowledge_after_ms": 100 })),
        ("/pay", json!({ "service_point": "s-101-e", "amount": "5.00", "mode": "never" })),
        ("/pay", json!({ "service_point": "s-101-e", "amount": "5.00", "mode": { "parallel": 3 } })),
    ] {
        let (status, answer) = control.post(path, body.clone()).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
    }
    let registers = building.registers("io").expect("it exists");
    assert_eq!(registers["holding:0"], 1_500);
    assert_eq!(building.registers("fire-panel").expect("it exists")["holding:2"], 0x3400);
    assert_eq!(building.registers("fire-panel").expect("it exists")["holding:201"], 0x0C10);
    assert!(!building.device("m-101").expect("a meter").answers);
    assert_eq!(building.phone().person("zhang").mode, PhoneMode::Busy { retry_after: 3 });
    let state: Value = serde_json::from_str(&control.get("/state").await).expect("JSON");
    assert_eq!(state["lines"][0]["fault"]["delay_ms"], 30);
    assert_eq!(state["payments"].as_array().map(Vec::len), Some(2));
    assert_eq!(control.post("/reset", Value::Null).await.0, 200);
    assert!(building.device("m-101").expect("a meter").answers);
    assert_ne!(building.registers("io").expect("it exists")["holding:0"], 1_500);
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused_with_the_reason() {
    let building = building().await;
    let control = Control::of(&building);
    for (path, body) in [
        ("/fault", json!({ "device": { "device": "m-999", "life": "dead" } })),
        ("/register", json!({ "device": "io", "table": "holding", "address": 99, "value": 1 })),
        ("/load", json!({ "device": "w-101", "watts": 1.0 })),
        ("/detector", json!({ "number": 25, "state": "fire" })),
        ("/acknowledge/nobody", Value::Null),
    ] {
        let (status, why) = control.post(path, body).await;
        assert!(status == 400 && why.len() > 10, "{path}: {status} {why}");
    }
    let browser = control.client.post(format!("{}/reset", control.base)).header("Origin", "http://192.0.2.9");
    assert_eq!(browser.send().await.expect("it answers").status().as_u16(), 403);
}
