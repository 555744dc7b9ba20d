//! Protocol Buffers' wire format in the fewest lines: what the gateway reads and writes with a library.

/// A field of a message.
pub(crate) fn field(number: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field with a number.
pub(crate) fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A message's fields, in order: their numbers, and their bytes or the number that they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<(u64, Value)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    #[track_caller]
    pub(crate) fn parse(mut bytes: &[u8]) -> Message {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Number(take_varint(&mut bytes)),
                2 => {
                    let length = usize::try_from(take_varint(&mut bytes)).unwrap();
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Value::Bytes(value.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Message(fields)
    }

    /// All of the fields of this number that are messages.
    #[track_caller]
    pub(crate) fn messages(&self, number: u64) -> Vec<Message> {
        self.all(number).map(|bytes| Message::parse(bytes)).collect()
    }

    /// The one field of this number, a message; an empty one where there is none.
    #[track_caller]
    pub(crate) fn message(&self, number: u64) -> Message {
        self.messages(number).pop().unwrap_or_default()
    }

    pub(crate) fn texts(&self, number: u64) -> Vec<String> {
        self.all(number).map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect()
    }

    pub(crate) fn text(&self, number: u64) -> String {
        self.texts(number).pop().unwrap_or_default()
    }

    pub(crate) fn number(&self, number: u64) -> u64 {
        let found = self.0.iter().find_map(|(field, value)| match value {
            Value::Number(value) if *field == number => Some(*value),
            _ => None,
        });
        found.unwrap_or(0)
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.0.iter().any(|(field, _)| *field == number)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &Vec<u8>> {
        self.0.iter().filter_map(move |(field, value)| match value {
            Value::Bytes(bytes) if *field == number => Some(bytes),
            _ => None,
        })
    }
}

#[track_caller]
fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0..10 {
        let (first, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint without an end");
}

#[test]
fn what_is_written_is_read() {
    let written = [field(1, "a"), number(2, 300), field(3, field(1, "b")), field(3, ""), number(4, -1)].concat();
    let message = Message::parse(&written);
    assert_eq!((message.text(1).as_str(), message.number(2), message.number(4)), ("a", 300, u64::MAX));
    assert_eq!(message.messages(3).iter().map(|message| message.text(1)).collect::<Vec<_>>(), ["b", ""]);
}
