//! JSON objects in which no member is given twice (RFC 8725, section 2.4; RFC 7515, section 4).
