//! A reading is explained down to its bytes, and a line shows what is wrong with it.

use std::net::SocketAddr;
use std::time::Duration;

use guanjia_core::reading::{BadReason, Decimal, Quality, Reading, Value as PointValue};
use guanjia_core::time::Timestamp;
use guanjia_field::now;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::house::House;

/// A Modbus TCP server: unit 2 refuses, every other one has 123456 in two registers.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 12];
                while socket.read_exact(&mut request).await.is_ok() {
                    let pdu: &[u8] = match request[6] {
                        2 => &[2, 0x83, 2],
                        _ => &[request[6], 3, 4, 0x00, 0x01, 0xE2, 0x40],
                    };
                    let mut answer = request[..4].to_vec();
                    answer.extend((pdu.len() as u16).to_be_bytes());
                    answer.extend([&[request[6]], &pdu[1..]].concat());
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn explained(house: &House, device: &str, point: &str) -> (StatusCode, Value) {
    let url = format!("{}/api/v1/devices/{device}/points/{point}/explain", house.url);
    let response = house.http.get(url).bearer_auth("office-token").send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// Asks until `enough` holds; the line needs a moment.
async fn until(house: &House, device: &str, point: &str, enough: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let (status, body) = explained(house, device, point).await;
        assert_eq!(status, StatusCode::OK);
        if enough(&body) {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to that: {:#}", explained(house, device, point).await.1);
}

#[tokio::test]
async fn a_reading_is_explained_from_the_frame_sent_to_the_value_published() {
    let house = House::on_line(server().await).await;
    let read = |body: &Value| body["published"]["value"] == "1234.56";
    let body = until(&house, "m-1", "energy_active_import", read).await;
    assert_eq!(body["published"]["quality"], "good");
    assert_eq!(body["place"]["line"], "plant");
    assert_eq!((&body["place"]["unit"], &body["place"]["function"]), (&1.into(), &3.into()));
    assert_eq!(body["form"]["type"], "u32");
    let answer = &body["answers"][0];
    assert!(answer["sent"].as_str().unwrap().ends_with("00 00 00 06 01 03 00 00 00 02"), "{answer}");
    assert!(answer["received"].as_str().unwrap().ends_with("01 03 04 00 01 E2 40"), "{answer}");
    assert_eq!(
        (&answer["words"], &answer["value"], &answer["attempt"]),
        (&"0001 E240".into(), &"1234.56".into(), &1.into())
    );
    assert!(answer["round_trip_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(body["profile"]["print"].as_str().unwrap().len(), 12);

    let enough = |body: &Value| body["answers"].as_array().is_some_and(|answers| answers.len() > 3);
    let body = until(&house, "m-1", "energy_active_import", enough).await;
    let times: Vec<&str> = body["answers"].as_array().unwrap().iter().filter_map(|a| a["at"].as_str()).collect();
    assert!(times.windows(2).all(|two| two[0] > two[1]), "the newest first: {times:?}");

    let (status, html) = house.get("/devices/m-1/points/energy_active_import?lang=en").await;
    assert_eq!(status, StatusCode::OK);
    for words in ["0001 E240", "01 03 04 00 01 E2 40", "1234.56", "Round trip", "Earlier answers"] {
        assert!(html.contains(words), "{words} in {html}");
    }
}

#[tokio::test]
async fn a_point_without_a_value_is_explained_too() {
    let house = House::on_line(server().await).await;
    let body = until(&house, "w-1", "volume_total", |body| body["request"]["outcome"] == "exception_02").await;
    assert_eq!(body["published"]["value"], Value::Null);
    assert_eq!(body["answers"].as_array().unwrap().len(), 0);
    let (status, problem) = explained(&house, "w-1", "none").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
    let url = format!("{}/api/v1/devices/w-1/points/volume_total/explain", house.url);
    assert_eq!(house.http.get(url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_line_shows_its_findings_in_the_api_the_metrics_and_the_console() {
    let house = House::on_line(server().await).await;
    let read = |body: &Value| body["published"]["quality"] == "good";
    until(&house, "m-1", "energy_active_import", read).await;
    let lines = house.http.get(format!("{}/api/v1/lines", house.url)).bearer_auth("office-token");
    let body: Value = lines.send().await.unwrap().json().await.unwrap();
    let line = &body["lines"][0];
    assert_eq!(
        (&line["name"], &line["protocol"], &line["connected"]),
        (&"plant".into(), &"modbus_tcp".into(), &true.into())
    );
    // Given time enough, the doctor finds that unit 2 refuses; nothing else is wrong.
    assert!(line["findings"].as_array().unwrap().iter().all(|f| f["finding"] == "refuses"), "{line}");
    assert!(line["units"][0]["ok"].as_u64().unwrap() > 0);

    let text = crate::metrics::render(&house.metrics, &house.live).concat();
    assert!(
        text.contains("guanjia_line_finding{bus=\"plant\",protocol=\"modbus_tcp\",finding=\"slow_unit\"} 0\n"),
        "{text}"
    );
    assert!(!text.contains("finding=\"double_address\""), "there is no wire");
    let trace = format!("{}/api/v1/lines/plant/trace", house.url);
    assert_eq!(house.http.get(&trace).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let mut response = house.http.get(&trace).bearer_auth("office-token").send().await.unwrap();
    let mut text = String::new();
    while !(text.contains(" sent ") && text.contains(" received ") && text.contains(" settled answered ")) {
        let chunk = tokio::time::timeout(Duration::from_secs(60), response.chunk()).await.expect("the line is polled");
        text.push_str(std::str::from_utf8(&chunk.unwrap().expect("the trace goes on")).unwrap());
    }
    assert!(text.starts_with("guanjia-trace 1\nline plant\nframing tcp\nrole master\n\n"), "{text}");

    let (_, html) = house.get("/lines?lang=en").await;
    assert!(html.contains("plant") && html.contains("Requests by device"), "{html}");
}

#[tokio::test]
async fn a_line_that_cannot_be_opened_says_why_and_what_to_do_in_the_api_and_on_its_pages() {
    // A port that is taken, and where nobody listens.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let house = House::on_line(nobody.local_addr().unwrap()).await;
    let lines = || async {
        let lines = house.http.get(format!("{}/api/v1/lines", house.url)).bearer_auth("office-token");
        lines.send().await.unwrap().json::<Value>().await.unwrap()["lines"][0].clone()
    };
    let until_down_is = async |down: bool| {
        let is_so = async {
            while lines().await["down"].is_null() == down {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), is_so).await.expect("the line is tried");
        lines().await
    };
    let meter = house.live.site.devices.iter().find(|device| *device.id == *"m-1").unwrap().ix;
    house.live.latest.set_device(meter, Some(BadReason::LineDown), now());
    let line = until_down_is(true).await;
    assert_eq!((&line["connected"], &line["down"]["reason"]), (&false.into(), &"connection_refused".into()));
    for (lang, text, advice) in
        [("en", "refuses the connection", "Check the port number"), ("zh", "拒绝了连接", "检查端口号")]
    {
        assert!(line["down"]["text"][lang].as_str().unwrap().contains(text), "{line}");
        for page in ["/lines", "/devices/m-1"] {
            let (_, html) = house.get(&format!("{page}?lang={lang}")).await;
            assert!(html.contains(text) && html.contains(advice), "{page} {html}");
        }
    }
    // It is said since when, and that does not move with every try.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lines().await["down"]["since"], line["down"]["since"]);
    let server = nobody.listen(1).unwrap();
    until_down_is(false).await;
    drop(server);
}

#[tokio::test]
async fn bad_quality_never_moves_the_time_at_which_a_value_was_true() {
    let house = House::open().await;
    let point = house.live.site.find_point("m-1", "energy_active_import").unwrap();
    let said = Timestamp::from_millis(1_764_000_000_000);
    let later = |seconds| said + Duration::from_secs(seconds);
    house.live.latest.update(&[Reading::good(point, PointValue::Decimal(Decimal::new(7, 0)), said)]);
    for (quality, reading) in [
        ("bad", Reading::bad(point, BadReason::NoAnswer, later(60))),
        ("stale", Reading { point, value: None, quality: Quality::Stale, at: later(120) }),
        ("bad", Reading::bad(point, BadReason::LineDown, later(180))),
    ] {
        house.live.latest.update(&[reading]);
        let (_, body) = explained(&house, "m-1", "energy_active_import").await;
        let published = &body["published"];
        assert_eq!((&published["quality"], &published["value"]), (&quality.into(), &"7".into()));
        assert_eq!(published["at"], said.to_string(), "the value is as old as it is");
        assert_ne!(published["since"], said.to_string());
    }
    house.live.latest.update(&[Reading::good(point, PointValue::Decimal(Decimal::new(8, 0)), later(240))]);
    let (_, body) = explained(&house, "m-1", "energy_active_import").await;
    assert_eq!(body["published"]["at"], later(240).to_string(), "only an answer moves it");
}

#[tokio::test]
async fn a_devices_clock_is_shown_with_its_skew_and_is_never_the_time_of_a_reading() {
    let house = House::open().await;
    let at = now();
    let zone = &house.live.site.zone;
    let ahead = (at + Duration::from_secs(90)).to_jiff().unwrap().to_zoned_datetime(zone.clone());
    let says = ahead.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    house.read("m-1", "device_time", PointValue::Text(says.as_str().into()));
    let text = crate::metrics::render(&house.metrics, &house.live).concat();
    let sample = text.lines().find(|l| l.starts_with("guanjia_device_clock_skew_seconds{device=\"m-1\"")).unwrap();
    let skew: f64 = sample.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((80.0..=90.0).contains(&skew), "{sample}");
    let device = house.http.get(format!("{}/api/v1/devices/m-1", house.url)).bearer_auth("office-token");
    let body: Value = device.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["clock"]["says"], says);
    let (_, html) = house.get("/devices/m-1?lang=en").await;
    assert!(html.contains("Its clock"), "{html}");

    house.read("m-1", "device_time", PointValue::Text("2000-01-01T00:00:00".into()));
    let (_, body) = explained(&house, "m-1", "device_time").await;
    let published: jiff::Timestamp = body["published"]["at"].as_str().unwrap().parse().unwrap();
    assert!(published >= at.to_jiff().unwrap(), "{body}");
}
