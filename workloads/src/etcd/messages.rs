//! The messages of etcd 3.4 that are used here, by hand: field numbers as in its `rpc.proto` and `kv.proto`. What is left out
//! is skipped by the decoder.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
    #[prost(uint64, tag = "4")]
    pub(super) raft_term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    /// Empty: the key alone.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) range_end: Bytes,
    /// Zero: all.
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    #[prost(bool, tag = "7")]
    pub(super) serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RequestOp {
    #[prost(oneof = "RequestUnion", tags = "1, 2")]
    pub(super) request: Option<RequestUnion>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum RequestUnion {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseOp {
    #[prost(oneof = "ResponseUnion", tags = "1, 2")]
    pub(super) response: Option<ResponseUnion>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ResponseUnion {
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    #[prost(message, tag = "2")]
    Put(PutResponse),
}

/// A condition of a transaction. The result is left out: zero is "equal".
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Compare {
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub(super) target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) key: Bytes,
    #[prost(oneof = "CompareUnion", tags = "6, 7")]
    pub(super) to: Option<CompareUnion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum CompareTarget {
    Version = 0,
    Create = 1,
    Mod = 2,
    Value = 3,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum CompareUnion {
    #[prost(int64, tag = "6")]
    ModRevision(i64),
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
}

/// All of `success` happens if all of `compare` holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TxnResponse {
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(super) responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
}

impl Compare {
    /// The key holds this value. A key that is not there holds none.
    pub(super) fn value(key: Bytes, value: Bytes) -> Self {
        Self { target: CompareTarget::Value.into(), key, to: Some(CompareUnion::Value(value)) }
    }

    /// The key was written last in this revision; 0: it is not there.
    pub(super) fn mod_revision(key: Bytes, revision: i64) -> Self {
        Self { target: CompareTarget::Mod.into(), key, to: Some(CompareUnion::ModRevision(revision)) }
    }
}

impl From<PutRequest> for RequestOp {
    fn from(put: PutRequest) -> Self {
        Self { request: Some(RequestUnion::Put(put)) }
    }
}

impl From<RangeRequest> for RequestOp {
    fn from(range: RangeRequest) -> Self {
        Self { request: Some(RequestUnion::Range(range)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn encodings_are_those_of_etcds_proto_files() {
        // By the encoding rules of protocol buffers, by hand: (field number << 3 | wire type), length, content.
        let put = PutRequest { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"vw") };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x02vw");
        let range = RangeRequest {
            key: Bytes::from_static(b"k"),
            limit: 5,
            serializable: true,
            ..Default::default()
        };
        assert_eq!(range.encode_to_vec(), b"\x0a\x01k\x18\x05\x38\x01");
        let value = Compare::value(Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        assert_eq!(value.encode_to_vec(), b"\x10\x03\x1a\x01k\x3a\x01v");
        let absent = Compare::mod_revision(Bytes::from_static(b"k"), 0);
        assert_eq!(absent.encode_to_vec(), b"\x10\x02\x1a\x01k\x30\x00", "a zero in a oneof is sent");
        let txn = TxnRequest { compare: vec![value], success: vec![put.into()] };
        assert_eq!(
            txn.encode_to_vec(),
            b"\x0a\x08\x10\x03\x1a\x01k\x3a\x01v\x12\x09\x12\x07\x0a\x01k\x12\x02vw"
        );
    }
}
