//! Numbers out of JSON text, digit by digit.
//!
//! A counter must not pass through a double: 2^53 Wh is reached by the sum of a district, and 0.1 is not a tenth. So
//! the text of one value is cut out of the message and turned into a [`Decimal`] as it stands. The message is checked
//! as a whole by serde_json first; the walk afterwards only has to find its way through JSON that is known to be valid.

use guanjia_core::reading::Decimal;
use serde::de::IgnoredAny;

/// The largest power of ten, either way, a number in a message may be written with.
const EXPONENT_MAX: i32 = 24;

/// What a pointer leads to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// Nothing: the message does not speak of it.
    Missing,
    /// `null`: the device says that it has no value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, exactly.
    Number(Decimal),
    /// A string, unescaped.
    Text(String),
    /// An object, an array, a number out of range, or a member that is there twice.
    Unusable,
}

/// A message that is known to be valid JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    text: &'a str,
}

impl<'a> Message<'a> {
    /// `None` if the payload is not one JSON value in UTF-8.
    pub(super) fn parse(payload: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        // serde_json refuses nesting deeper than 128, so the recursion below is bounded as well.
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Some(Self { text })
    }

    /// What an RFC 6901 pointer leads to; the empty pointer means the whole message.
    pub(super) fn find(self, pointer: &str) -> Found {
        let mut cursor = Cursor { bytes: self.text.as_bytes(), at: 0 };
        let tokens = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        for token in tokens {
            match cursor.descend(&token) {
                Step::Into => {}
                Step::Missing => return Found::Missing,
                Step::Twice => return Found::Unusable,
            }
        }
        let start = cursor.value_start();
        cursor.skip_value();
        value(&self.text[start..cursor.at])
    }

    /// The elements of the array a pointer leads to, or the object there as the only one; none of anything else.
    pub(super) fn elements(self, pointer: &str) -> Vec<Message<'a>> {
        let mut cursor = Cursor { bytes: self.text.as_bytes(), at: 0 };
        let tokens = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        for token in tokens {
            if !matches!(cursor.descend(&token), Step::Into) {
                return Vec::new();
            }
        }
        cursor.skip_space();
        let mut elements = Vec::new();
        match cursor.peek() {
            b'{' => elements.push(self.piece(&mut cursor)),
            b'[' => {
                cursor.at += 1;
                loop {
                    cursor.skip_space();
                    match cursor.peek() {
                        b',' => cursor.at += 1,
                        b']' | 0 => break,
                        _ => elements.push(self.piece(&mut cursor)),
                    }
                }
            }
            _ => {}
        }
        elements
    }

    /// The value the cursor is at, which it moves behind.
    fn piece(self, cursor: &mut Cursor<'_>) -> Message<'a> {
        let start = cursor.value_start();
        cursor.skip_value();
        Message { text: &self.text[start..cursor.at] }
    }
}

fn value(text: &str) -> Found {
    match text.as_bytes().first() {
        Some(b'n') => Found::Null,
        Some(b't') => Found::Bool(true),
        Some(b'f') => Found::Bool(false),
        Some(b'"') => serde_json::from_str(text).map_or(Found::Unusable, Found::Text),
        Some(b'-' | b'0'..=b'9') => decimal(text).map_or(Found::Unusable, Found::Number),
        _ => Found::Unusable,
    }
}

/// The exact value of a JSON number. `None` if its digits do not fit an `i128` or its exponent is beyond all measure.
fn decimal(text: &str) -> Option<Decimal> {
    let (digits, power) = match text.split_once(['e', 'E']) {
        Some((digits, power)) => (digits, power.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent = power.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    if mantissa == 0 {
        return Some(Decimal::new(0, 0));
    }
    (exponent.abs() <= EXPONENT_MAX).then(|| Decimal::new(mantissa, exponent as i8))
}

enum Step {
    Into,
    Missing,
    Twice,
}

/// A place in valid JSON.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn value_start(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Moves to the member or element `token` of the value here.
    fn descend(&mut self, token: &str) -> Step {
        self.skip_space();
        match self.peek() {
            b'{' => self.descend_object(token),
            b'[' => self.descend_array(token),
            _ => Step::Missing,
        }
    }

    fn descend_object(&mut self, token: &str) -> Step {
        self.at += 1;
        let mut found = None;
        loop {
            self.skip_space();
            match self.peek() {
                b'"' => {}
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => break,
            }
            let start = self.at;
            self.skip_string();
            let key: Result<String, _> = serde_json::from_slice(&self.bytes[start..self.at]);
            self.skip_space();
            self.at += 1; // the colon
            let place = self.value_start();
            self.skip_value();
            if key.is_ok_and(|key| key == token) {
                // Which of two values is meant, nobody can say.
                if found.replace(place).is_some() {
                    return Step::Twice;
                }
            }
        }
        self.enter(found)
    }

    fn descend_array(&mut self, token: &str) -> Step {
        let canonical = token == "0" || !token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit());
        let wanted = token.parse::<usize>().ok().filter(|_| canonical);
        self.at += 1;
        let mut index = 0usize;
        loop {
            self.skip_space();
            match self.peek() {
                b',' => self.at += 1,
                b']' | 0 => return Step::Missing,
                _ if wanted == Some(index) => return Step::Into,
                _ => {
                    self.skip_value();
                    index += 1;
                }
            }
        }
    }

    fn enter(&mut self, place: Option<usize>) -> Step {
        match place {
            Some(place) => {
                self.at = place;
                Step::Into
            }
            None => Step::Missing,
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while !matches!(self.peek(), b'"' | 0) {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.bytes.len());
    }

    /// Moves behind the value here. Depth is counted, not recursed into.
    fn skip_value(&mut self) {
        self.skip_space();
        let mut depth = 0usize;
        loop {
            match self.peek() {
                b'"' => self.skip_string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b'}' | b']' | 0 => return,
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => self.skip_word(),
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Moves behind a number, `true`, `false` or `null`.
    fn skip_word(&mut self) {
        while !matches!(self.peek(), b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | 0) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(text: &str, pointer: &str) -> Found {
        Message::parse(text.as_bytes()).expect("valid JSON").find(pointer)
    }

    fn number(mantissa: i128, exponent: i8) -> Found {
        Found::Number(Decimal::new(mantissa, exponent))
    }

    #[test]
    fn counters_keep_every_digit() {
        assert_eq!(find(r#"{"a":9007199254740993}"#, "/a"), number(9_007_199_254_740_993, 0));
        assert_eq!(find(r#"{"a":18446744073709551615.25}"#, "/a"), number(1_844_674_407_370_955_161_525, -2));
        assert_eq!(find("0.1", ""), number(1, -1));
        assert_eq!(find("-12.50", ""), number(-1250, -2));
        assert_eq!(find("1.5e3", ""), number(15, 2));
        assert_eq!(find("-0.0", ""), number(0, 0));
        assert_eq!(find("0e999999999", ""), number(0, 0));
    }

    #[test]
    fn a_number_beyond_all_measure_is_unusable() {
        for text in ["1e300", "1e-300", "1e99999999999", &"9".repeat(60)] {
            assert_eq!(find(text, ""), Found::Unusable, "{text}");
        }
    }

    #[test]
    fn pointers_follow_rfc_6901() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8," ":7,"k\"l":6,"deep":{"x":[{"y":[1,{"z":42}]}]}}"#;
        assert_eq!(find(text, "/foo/1"), Found::Text("baz".to_owned()));
        assert_eq!(find(text, "/"), number(0, 0));
        assert_eq!(find(text, "/a~1b"), number(1, 0));
        assert_eq!(find(text, "/m~0n"), number(8, 0));
        assert_eq!(find(text, "/ "), number(7, 0));
        assert_eq!(find(text, "/k\"l"), number(6, 0));
        assert_eq!(find(text, "/deep/x/0/y/1/z"), number(42, 0));
        for missing in ["/bar", "/foo/2", "/foo/01", "/foo/-", "/foo/bar/baz", "/deep/x/0/y/9"] {
            assert_eq!(find(text, missing), Found::Missing, "{missing}");
        }
        assert_eq!(find(text, "/foo"), Found::Unusable);
        assert_eq!(find(text, ""), Found::Unusable);
    }

    #[test]
    fn a_member_that_is_there_twice_is_not_chosen_from() {
        assert_eq!(find(r#"{"v":1,"v":2}"#, "/v"), Found::Unusable);
        assert_eq!(find(r#"{"v":1,"\u0076":2}"#, "/v"), Found::Unusable);
        assert_eq!(find(r#"{"v":1,"w":{"v":2}}"#, "/v"), number(1, 0));
    }

    #[test]
    fn elements_are_those_of_an_array_or_one_object() {
        let texts = |text: &str, pointer: &str| -> Vec<String> {
            let message = Message::parse(text.as_bytes()).expect("valid JSON");
            message.elements(pointer).iter().map(|element| element.text.to_owned()).collect()
        };
        assert_eq!(texts(r#" [ {"a":[1,2]} , 7,"x,]" ,[] ] "#, ""), [r#"{"a":[1,2]}"#, "7", r#""x,]""#, "[]"]);
        assert_eq!(texts(r#"{"d":{"s":[ {"t":1},{"t":2}]}}"#, "/d/s"), [r#"{"t":1}"#, r#"{"t":2}"#]);
        assert_eq!(texts(r#"{"d":{"t":1}}"#, "/d"), [r#"{"t":1}"#]);
        for none in [r#"{"d":7}"#, r#"{"d":[]}"#, r#"{"e":[1]}"#, r#"{"d":[1],"d":[2]}"#] {
            assert!(texts(none, "/d").is_empty(), "{none}");
        }
    }

    #[test]
    fn words_and_blanks() {
        assert_eq!(find(" { \"a\" : null , \"b\" : true } ", "/a"), Found::Null);
        assert_eq!(find(" { \"a\" : null , \"b\" : true } ", "/b"), Found::Bool(true));
        for invalid in [&b"{"[..], b"", b"NaN", b"+1", b"007", b"1 2", b"\xff", b"{\"a\":1,}"] {
            assert!(Message::parse(invalid).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_pointer_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64), pointer in ".{0,12}") {
            if let Some(message) = Message::parse(&bytes) {
                let _ = message.find(&pointer);
            }
        }

        #[test]
        fn it_finds_what_serde_json_finds(a in any::<i64>(), s in ".{0,8}", b in any::<bool>(), key in "[a-z\"\\\\{}:,/~]{1,6}") {
            let tree = serde_json::json!({ "x": [s, { key.clone(): a, "q": { "t": b } }], "y": null });
            let text = tree.to_string();
            let message = Message::parse(text.as_bytes()).expect("valid");
            let escaped = key.replace('~', "~0").replace('/', "~1");
            if key != "q" {
                prop_assert_eq!(message.find(&format!("/x/1/{escaped}")), Found::Number(Decimal::new(i128::from(a), 0)));
            }
            prop_assert_eq!(message.find("/x/0"), Found::Text(s));
            prop_assert_eq!(message.find("/y"), Found::Null);
        }
    }
}
