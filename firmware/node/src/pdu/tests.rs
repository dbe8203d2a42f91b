use super::*;

#[test]
fn requests_of_the_specification() {
    assert_eq!(parse(&[1, 0x00, 0x13, 0x00, 0x13]), Ok(Request::ReadBits(Bits::Coils, 0x13, 0x13)));
    assert_eq!(parse(&[2, 0x00, 0xC4, 0x00, 0x16]), Ok(Request::ReadBits(Bits::Discrete, 0xC4, 0x16)));
    assert_eq!(parse(&[3, 0x00, 0x6B, 0x00, 0x03]), Ok(Request::ReadWords(0x6B, 3)));
    assert_eq!(parse(&[5, 0x00, 0xAC, 0xFF, 0x00]), Ok(Request::WriteCoil(0xAC, true)));
    assert_eq!(parse(&[6, 0x00, 0x01, 0x00, 0x03]), Ok(Request::WriteWords(1, &[0, 3])));
    assert_eq!(
        parse(&[15, 0x00, 0x13, 0x00, 0x0A, 0x02, 0xCD, 0x01]),
        Ok(Request::WriteCoils(0x13, 10, &[0xCD, 0x01]))
    );
    assert_eq!(
        parse(&[16, 0x00, 0x01, 0x00, 0x02, 0x04, 0x00, 0x0A, 0x01, 0x02]),
        Ok(Request::WriteWords(1, &[0, 10, 1, 2]))
    );
    assert_eq!(parse(&[17]), Ok(Request::ServerId));
    assert_eq!(parse(&[43, 14, 1, 0]), Ok(Request::DeviceId(1, 0)));
}

#[test]
fn lengths_and_counts_that_do_not_fit_are_illegal_values() {
    let bad: &[&[u8]] = &[
        &[],
        &[1],
        &[3, 0, 0, 0],
        &[3, 0, 0, 0, 1, 0],
        &[3, 0, 0, 0, 0],
        &[3, 0, 0, 0, 126],
        &[1, 0, 0, 0x07, 0xD1],
        &[5, 0, 0, 0xFF, 0x01],
        &[5, 0, 0, 0xFF],
        &[6, 0, 0, 0],
        &[15, 0, 0, 0, 9, 1, 0xFF],
        &[16, 0, 0, 0, 1, 2, 0],
        &[16, 0, 0, 0, 2, 2, 0, 0],
        &[16, 0, 0, 0, 124, 248],
        &[17, 0],
        &[43, 14, 5, 0],
        &[43, 14, 0, 0],
        &[43, 14, 1],
        &[20, 6, 6, 0, 1, 0, 0, 0],
        &[21, 7, 6, 0, 1, 0, 0, 0, 1],
    ];
    for pdu in bad {
        assert_eq!(parse(pdu), Err(Exception::IllegalValue), "{pdu:02x?}");
    }
}

#[test]
fn every_other_function_is_illegal() {
    for function in 0..=255u8 {
        let known = [1, 2, 3, 4, 5, 6, 15, 16, 17, 20, 21, 43].contains(&function);
        assert_eq!(parse(&[function, 0]) == Err(Exception::IllegalFunction), !known || function == 43, "{function}");
    }
    assert_eq!(parse(&[43, 13, 0, 0]), Err(Exception::IllegalFunction));
}

#[test]
fn records_are_bytes_of_one_package() {
    let mut rest: &[u8] = &[6, 0, 1, 0, 10, 0, 2, 6, 0, 3, 0x27, 0x0F, 0, 1];
    assert_eq!(group(&mut rest, false), Ok(Group { offset: 20, words: 2, data: &[] }));
    assert_eq!(group(&mut rest, false), Ok(Group { offset: 40_000 + 19_998, words: 1, data: &[] }));
    assert!(rest.is_empty());
    let mut rest: &[u8] = &[6, 0, 2, 0, 0, 0, 1, 0xAA, 0x55];
    assert_eq!(group(&mut rest, true), Ok(Group { offset: 20_000, words: 1, data: &[0xAA, 0x55] }));
}

#[test]
fn records_that_are_not_there() {
    let address =
        [[6, 0, 0, 0, 0, 0, 1], [6, 0, 1, 0x27, 0x10, 0, 1], [6, 0, 1, 0x27, 0x0F, 0, 2], [6, 0, 1, 0, 0, 0xFF, 0xFF]];
    for request in address {
        assert_eq!(group(&mut &request[..], false), Err(Exception::IllegalAddress), "{request:02x?}");
    }
    for request in [[7, 0, 1, 0, 0, 0, 1], [6, 0, 1, 0, 0, 0, 0]] {
        assert_eq!(group(&mut &request[..], false), Err(Exception::IllegalValue), "{request:02x?}");
    }
    assert_eq!(group(&mut &[6, 0, 1, 0, 0, 0, 2, 1, 2, 3][..], true), Err(Exception::IllegalValue));
}
