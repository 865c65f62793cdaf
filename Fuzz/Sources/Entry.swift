import Foundation

/// libFuzzer's entry point. `CLVD_FUZZ_TARGET` says what is fuzzed: decoder, avro, protobuf, mapping, settings or snapshot.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target(UnsafeRawBufferPointer(start: bytes, count: count))
    return 0
}

/// A target gets any bytes. It must return: a trap, an error of memory or a wait of seconds is a finding.
private nonisolated(unsafe) let target: (UnsafeRawBufferPointer) -> Void = {
    switch ProcessInfo.processInfo.environment["CLVD_FUZZ_TARGET"] {
    case "decoder": return DecoderTarget().run
    case "avro", "protobuf": return SchemaTarget(ProcessInfo.processInfo.environment["CLVD_FUZZ_TARGET"]!).run
    case "mapping": return MappingTarget().run
    case "settings": return SettingsTarget().run
    case "snapshot": return SnapshotTarget().run
    default: fatalError("CLVD_FUZZ_TARGET must be decoder, avro, protobuf, mapping, settings or snapshot")
    }
}()
