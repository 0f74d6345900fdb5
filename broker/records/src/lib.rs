//! Kafka's record batch v2: header, records, codecs, control records
