//! Against bytes that the reference protocol buffer library made from the schema of Sparkplug 3.0.0.

use proptest::prelude::*;

use super::*;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn plain(name: &str, datatype: DataType, value: MetricValue) -> Metric {
    Metric { name: name.to_owned(), at: T0, datatype, value, quality: None, unit: None }
}

fn measured(name: &str, datatype: DataType, value: MetricValue, quality: i32) -> Metric {
    let at = Timestamp::from_millis(T0.as_millis() + 250);
    Metric { name: name.to_owned(), at, datatype, value, quality: Some(quality), unit: None }
}

#[test]
fn a_birth_and_a_death_are_the_bytes_of_the_schema() {
    let bd_seq = plain("bdSeq", DataType::Int64, MetricValue::Long(7));
    let rebirth = plain("Node Control/Rebirth", DataType::Boolean, MetricValue::Boolean(false));
    assert_eq!(
        hex(&payload(T0, Some(0), &[bd_seq.clone(), rebirth])),
        "0880a0f1c2b13412120a0562645365711880a0f1c2b1342004580712210a144e6f646520436f6e74726f6c2f526562697274681880a0f1\
         c2b134200b70001800"
    );
    assert_eq!(hex(&payload(T0, None, &[bd_seq])), "0880a0f1c2b13412120a0562645365711880a0f1c2b13420045807");
}

#[test]
fn data_of_every_type_are_the_bytes_of_the_schema() {
    let mut energy = measured("energy", DataType::Int64, MetricValue::Long(-5i64 as u64), 192);
    energy.unit = Some("kW.h".to_owned());
    let metrics = [
        energy,
        measured("volume", DataType::Double, MetricValue::Double(1.25), 192),
        measured("flow", DataType::Double, MetricValue::Null, 500),
        measured("serial", DataType::String, MetricValue::Text("A7 表".to_owned()), 192),
    ];
    assert_eq!(
        hex(&payload(Timestamp::from_millis(T0.as_millis() + 500), Some(255), &metrics)),
        "08f4a3f1c2b13412410a06656e6572677918faa1f1c2b13420044a230a075175616c6974790a07656e67556e69741205080318c0011208\
         080c42046b572e6858fbffffffffffffffff01122c0a06766f6c756d6518faa1f1c2b134200a4a100a075175616c697479120508031\
         8c00169000000000000f43f12230a04666c6f7718faa1f1c2b134200a38014a100a075175616c6974791205080318f403122b0a0673\
         657269616c18faa1f1c2b134200c4a100a075175616c6974791205080318c0017a06413720e8a1a818ff01"
    );
}

#[test]
fn only_a_rebirth_that_is_true_is_a_rebirth() {
    let rebirth = "0801121a0a144e6f646520436f6e74726f6c2f52656269727468200b7001";
    let reboot = "0801121a0a144e6f646520436f6e74726f6c2f52656269727468200b7000121c0a134e6f646520436f6e74726f6c2f5265626f\
                  6f74650000803f7001";
    assert!(asks_for_rebirth(&bytes_of(rebirth)));
    assert!(!asks_for_rebirth(&bytes_of(reboot)));
    assert!(!asks_for_rebirth(&bytes_of(&rebirth[..rebirth.len() - 4])), "cut off before it says true");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = asks_for_rebirth(&bytes);
    }
}
