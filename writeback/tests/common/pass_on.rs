//! Stores over stores: the methods that are the inner store's.

/// Within an `impl Store`: the methods that only call those of a field, as in `pass_on!(inner: limits, len)`.
macro_rules! pass_on {
    ($field:tt: $($method:ident),+) => {
        $(pass_on!(@ $field $method);)+
    };
    (@ $field:tt limits) => {
        fn limits(&self) -> writeback::store::Limits {
            self.$field.limits()
        }
    };
    (@ $field:tt len) => {
        fn len(&self) -> Result<u64, writeback::StoreError> {
            self.$field.len()
        }
    };
    (@ $field:tt set_len) => {
        fn set_len(&self, len: u64) -> Result<(), writeback::StoreError> {
            self.$field.set_len(len)
        }
    };
    (@ $field:tt read) => {
        fn read(&self, run: writeback::store::ReadRun) {
            self.$field.read(run);
        }
    };
    (@ $field:tt write) => {
        fn write(
            &self,
            batch: writeback::store::WriteBatch,
            completion: writeback::store::Completion,
        ) {
            self.$field.write(batch, completion);
        }
    };
    (@ $field:tt flush) => {
        fn flush(
            &self,
            kind: writeback::store::FlushKind,
            completion: writeback::store::FlushCompletion,
        ) {
            self.$field.flush(kind, completion);
        }
    };
}

pub(crate) use pass_on;
