// Tests of the snapshot store.
