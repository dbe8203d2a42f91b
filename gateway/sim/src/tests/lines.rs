use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

type Words = Vec<u16>;

async fn holding(context: &mut Context, first: u16, count: u16) -> Words {
    context.read_holding_registers(first, count).await.expect("the wire works").expect("no exception")
}

async fn input(context: &mut Context, first: u16, count: u16) -> Words {
    context.read_input_registers(first, count).await.expect("the wire works").expect("no exception")
}

#[tokio::test]
async fn the_acrel_meter_tells_its_energy_and_power_as_its_document_says() {
    let building = building().await;
    building.set_load("m-101", Some(5_000.0)).expect("a meter");
    building.set_counter("m-101", 1_234_560).expect("a meter");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut meter = modbus(&building, LineId::Rs485A, 1).await;
    let energy = holding(&mut meter, 0, 2).await;
    let hundredths = u32::from(energy[0]) << 16 | u32::from(energy[1]);
    assert!((123_456..123_460).contains(&hundredths), "1234.56 kWh in steps of 0.01, not {hundredths}");
    let power = holding(&mut meter, 362, 2).await;
    assert_eq!((power[0], power[1]), (0, 5_000), "5 kW in steps of 0.001");
    let volts = holding(&mut meter, 97, 3).await;
    assert!(volts.iter().all(|decivolts| (2_180..2_220).contains(decivolts)), "{volts:?}");
}

#[tokio::test]
async fn the_eastron_meter_tells_floats_in_input_registers() {
    let building = building().await;
    building.set_load("m-301", Some(2_000.0)).expect("a meter");
    building.set_counter("m-301", 5_000_000).expect("a meter");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut meter = modbus(&building, LineId::Rs485B, 11).await;
    let energy = f32_of(&input(&mut meter, 72, 2).await);
    assert!((5_000.0..5_000.1).contains(&energy), "{energy} kWh");
    let watts = f32_of(&input(&mut meter, 52, 2).await);
    assert!((watts - 2_000.0).abs() < 0.5, "{watts} W");
    assert_eq!(f32_of(&input(&mut meter, 70, 2).await), 50.0);
    let block = input(&mut meter, 0, 80).await;
    assert_eq!((f32_of(&block[52..]), f32_of(&block[54..])), (watts, 0.0), "a block spans what the map leaves out");
    let odd = meter.read_input_registers(1, 2).await.expect("the wire works");
    assert_eq!(odd, Err(ExceptionCode::IllegalDataAddress));
}

#[tokio::test]
async fn the_chint_meter_tells_floats_with_decimal_factors() {
    let building = building().await;
    building.set_load("p-pumps", Some(3_000.0)).expect("a meter");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut meter = modbus(&building, LineId::Plant, 4).await;
    let raw = f32_of(&holding(&mut meter, 8210, 2).await);
    assert!((raw - 30_000.0).abs() < 5.0, "3000 W in steps of 0.1, not {raw}");
    assert_eq!(f32_of(&holding(&mut meter, 8260, 2).await), 5_000.0, "50 Hz in steps of 0.01");
    let truth = building.device("p-pumps").expect("a meter").energy_wh.expect("a meter");
    let energy = f32_of(&holding(&mut meter, 4126, 2).await);
    assert!((f64::from(energy) - truth as f64 / 1_000.0).abs() < 0.05, "{energy} kWh");
}

#[tokio::test]
async fn the_water_meter_the_panel_the_lifts_and_the_utility_room_answer() {
    let building = building().await;
    building.set_counter("w-101", 321_500).expect("a meter");
    let mut water = modbus(&building, LineId::Rs485B, 31).await;
    let volume = f32_of(&holding(&mut water, 4, 2).await);
    assert!((321.5..321.51).contains(&volume), "{volume} m³");
    building.set_detector(9, Detector::Fire).expect("there are 24");
    let mut panel = modbus(&building, LineId::Fire, 1).await;
    let detectors = holding(&mut panel, 0, 25).await;
    assert_eq!((detectors[7], detectors[8], detectors[24]), (0x1400, 0x0C10, 0x00FF));
    assert_eq!(holding(&mut panel, 9_499, 1).await, [0]);
    for line in [LineId::Lift1, LineId::Lift2] {
        let mut lift = modbus(&building, line, 1).await;
        let board = holding(&mut lift, 6, 19).await;
        assert!((1..=3).contains(&board[15]) && board[..15].iter().all(|word| *word <= 1), "{board:?}");
    }
    let mut room = modbus(&building, LineId::Io, 1).await;
    let io = holding(&mut room, 0, 6).await;
    assert!((300..=800).contains(&io[0]));
    assert_eq!(io[2..], [0, 1, 1, 1]);
}

#[tokio::test]
async fn a_paced_wire_takes_its_time_and_an_instant_one_does_not() {
    for (wire, at_least, at_most) in [(Wire::Paced, 680, 10_000), (Wire::Instant, 0, 680)] {
        client();
        let building = Building::start(BuildingConfig { wire, ..BuildingConfig::default() }).await.expect("it starts");
        let mut meter = modbus(&building, LineId::Rs485A, 1).await;
        let begin = std::time::Instant::now();
        // Eight bytes there and 25 back are 34 ms at 9600 baud.
        for _ in 0..20 {
            holding(&mut meter, 0, 10).await;
        }
        let took = begin.elapsed().as_millis();
        assert!((at_least..at_most).contains(&took), "{wire:?}: {took} ms");
    }
}

#[tokio::test]
async fn a_relay_command_cuts_the_shop_and_reads_back() {
    let building = building().await;
    let mut meter = modbus(&building, LineId::Rs485A, 2).await;
    meter.write_multiple_registers(0x57, &[1, 1]).await.expect("the wire works").expect("no exception");
    until("the cut", || building.device("m-102").is_ok_and(|d| d.relay == Some(Relay::Open) && d.power_w == Some(0.0)))
        .await;
    assert_eq!(holding(&mut meter, 0x57, 2).await, [1, 1]);
    meter.write_multiple_registers(0x57, &[1, 0]).await.expect("the wire works").expect("no exception");
    until("the restoration", || building.device("m-102").is_ok_and(|d| d.relay == Some(Relay::Closed))).await;
    let refused = meter.write_single_register(0, 1).await.expect("the wire works");
    assert_eq!(refused, Err(ExceptionCode::IllegalFunction));
}

#[tokio::test]
async fn a_dead_unit_is_silent_on_a_wire_and_an_exception_behind_a_gateway() {
    let building = building().await;
    for device in ["m-105", "p-hvac"] {
        building.fault(&Fault::Device { device: device.into(), life: Life::Dead }).expect("it exists");
    }
    let mut wire = modbus(&building, LineId::Rs485A, 5).await;
    let silence = timeout(Duration::from_millis(300), wire.read_holding_registers(0, 2)).await;
    assert!(silence.is_err());
    let mut gateway = modbus(&building, LineId::Plant, 5).await;
    let exception = gateway.read_holding_registers(8210, 2).await.expect("the wire works");
    assert_eq!(exception, Err(ExceptionCode::GatewayTargetDevice));
}

#[tokio::test]
async fn a_hanging_server_takes_bytes_and_says_nothing_and_a_downed_one_closes() {
    let building = building().await;
    let order = |server| Fault::Line { line: LineId::Rs485B, fault: LineFault { server, ..LineFault::default() } };
    building.fault(&order(Server::Hangs)).expect("a line");
    let mut socket = TcpStream::connect(building.addresses().rs485_b).await.expect("it accepts");
    let request = crate::modbus::rtu_frame(31, &[3, 0, 4, 0, 2]);
    socket.write_all(&request).await.expect("it takes bytes");
    let mut reply = [0u8; 9];
    assert!(timeout(Duration::from_millis(300), socket.read(&mut reply)).await.is_err());
    building.fault(&order(Server::Works)).expect("a line");
    socket.write_all(&request).await.expect("it takes bytes");
    timeout(Duration::from_secs(2), socket.read_exact(&mut reply)).await.expect("it answers").expect("nine bytes");
    assert_eq!(reply[..3], [31, 3, 4]);
    building.fault(&order(Server::Down)).expect("a line");
    let end = timeout(Duration::from_secs(2), socket.read(&mut reply)).await.expect("it closes");
    assert!(end.is_err() || end.is_ok_and(|read| read == 0));
}

#[tokio::test]
async fn a_late_reply_finds_its_way_into_the_next_connection() {
    let building = building().await;
    let fault = LineFault { delay_ms: 300, ..LineFault::default() };
    building.fault(&Fault::Line { line: LineId::Rs485A, fault }).expect("a line");
    let mut first = TcpStream::connect(building.addresses().rs485_a).await.expect("it accepts");
    first.write_all(&crate::modbus::rtu_frame(1, &[3, 0, 0, 0, 2])).await.expect("it takes bytes");
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(first);
    let mut second = TcpStream::connect(building.addresses().rs485_a).await.expect("it accepts");
    let mut reply = [0u8; 9];
    timeout(Duration::from_secs(2), second.read_exact(&mut reply)).await.expect("it comes").expect("nine bytes");
    assert_eq!(reply[..3], [1, 3, 4]);
}

#[tokio::test]
async fn noise_is_on_a_line_before_any_question_and_never_passes_a_checksum() {
    let building = building().await;
    let fault = LineFault { noise: Noise::Garbage, ..LineFault::default() };
    building.fault(&Fault::Line { line: LineId::Rs485A, fault }).expect("a line");
    let mut socket = TcpStream::connect(building.addresses().rs485_a).await.expect("it accepts");
    let mut noise = [0u8; 256];
    let heard = timeout(Duration::from_secs(3), socket.read(&mut noise)).await.expect("noise comes").expect("bytes");
    assert!(heard >= 3);
    assert_eq!(crate::modbus::rtu_open(&noise[..heard]), None);
}

#[tokio::test]
async fn a_damaged_request_is_not_answered_and_the_next_one_is() {
    let building = building().await;
    let mut socket = TcpStream::connect(building.addresses().rs485_a).await.expect("it accepts");
    let good = crate::modbus::rtu_frame(1, &[3, 0, 0, 0, 2]);
    let mut bad = good.clone();
    bad[4] ^= 1;
    socket.write_all(&bad).await.expect("it takes bytes");
    let mut reply = [0u8; 9];
    assert!(timeout(Duration::from_millis(250), socket.read(&mut reply)).await.is_err());
    socket.write_all(&good).await.expect("it takes bytes");
    timeout(Duration::from_secs(2), socket.read_exact(&mut reply)).await.expect("it answers").expect("nine bytes");
}

#[tokio::test]
async fn a_building_that_is_shut_down_is_gone() {
    let building = building().await;
    let address = building.addresses().plant;
    assert!(TcpStream::connect(address).await.is_ok());
    timeout(Duration::from_secs(5), building.shutdown()).await.expect("it ends");
    assert!(TcpStream::connect(address).await.is_err());
}
