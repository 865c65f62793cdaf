import CEventParser
import Foundation
import Kafka
import Logging
import Testing

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let repository = URL(filePath: #filePath).appending(path: "../../..").standardized

/// A folder of the test's own, removed with this.
final class Folder {
    let url = FileManager.default.temporaryDirectory.appending(path: "clvd-\(UUID().uuidString)")
    init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> String { url.appending(path: name).path }

    func write(_ text: String, to name: String) throws -> String {
        try text.write(toFile: path(name), atomically: false, encoding: .utf8)
        return path(name)
    }

    func read(_ name: String) throws -> String { try String(contentsOfFile: path(name), encoding: .utf8) }
}

/// What a run of clvd came to.
struct Run {
    let status: Int32
    let output: String
    let errors: String

    /// The output as a JSON object.
    var json: [String: Any] {
        get throws {
            try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        }
    }
}

/// The built program lies beside the tests.
private let program = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "clvd")

/// Runs clvd with these arguments and nothing of this process's environment but its path.
@discardableResult
func clvd(
    _ arguments: String..., environment: [String: String] = [:]
) throws -> Run {
    try clvd(arguments, environment: environment)
}

/// - Parameters:
///   - interruptAfter: sends SIGINT after so many seconds.
///   - addressSpaceKiB: the most memory that it may reserve.
func clvd(
    _ arguments: [String], environment: [String: String] = [:], interruptAfter seconds: Double? = nil,
    addressSpaceKiB: Int? = nil
) throws -> Run {
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    if let addressSpaceKiB {
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", #"ulimit -v \#(addressSpaceKiB) && exec "$0" "$@""#, program.path] + arguments
    }
    process.environment = ["PATH": "/usr/bin:/bin"].merging(environment) { $1 }
    let folder = try Folder()
    // Files, not pipes: nobody has to read while it runs.
    for name in ["out", "err"] { _ = FileManager.default.createFile(atPath: folder.path(name), contents: nil) }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle(forWritingAtPath: folder.path("out"))
    process.standardError = FileHandle(forWritingAtPath: folder.path("err"))
    try process.run()
    if let seconds {
        Thread.sleep(forTimeInterval: seconds)
        process.interrupt()
    }
    process.waitUntilExit()
    return Run(status: process.terminationStatus, output: try folder.read("out"), errors: try folder.read("err"))
}

/// A record as it was read back.
struct Sent: Equatable {
    let partition: Int32
    let key: String
    let value: String
    let timestampMs: Int64
}

/// Everything in a topic, in the order of its partitions.
func contents(of topic: String, partitions: Int, at bootstrap: String) throws -> [Sent] {
    let consumer = try Consumer(
        bootstrap: bootstrap, groupId: UUID().uuidString, instanceId: nil, topics: [topic], batchRecords: 1000,
        properties: [:], logger: quiet)
    defer { consumer.close() }
    // Without the group, which takes its time to assemble.
    try consumer.assign(
        Dictionary(uniqueKeysWithValues: (0..<Int32(partitions)).map { (TopicPartition(topic, $0), .beginning) }))
    var records: [Sent] = []
    var ended: Set<Int32> = []
    func text(_ bytes: UnsafePointer<UInt8>?, _ count: UInt32) -> String {
        String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }
    let deadline = Date(timeIntervalSinceNow: 20)
    while ended.count < partitions {
        try #require(Date() < deadline, "\(records.count) records of \(topic), then nothing")
        let poll = consumer.poll(milliseconds: 100)
        records += poll.records.map {
            Sent(
                partition: $0.partition, key: text($0.key, $0.key_length), value: text($0.value, $0.value_length),
                timestampMs: $0.timestamp_ms)
        }
        ended.formUnion(poll.ends.keys.map(\.partition))
        consumer.release()
    }
    return records.enumerated().sorted { ($0.1.partition, $0.0) < ($1.1.partition, $1.0) }.map(\.1)
}
