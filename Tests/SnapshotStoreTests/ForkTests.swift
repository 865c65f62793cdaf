import CSnapshot
import Foundation
import Testing

@testable import SnapshotStore

@Suite("Writing in a child")
struct ForkTests {
    let fixture = Fixture()

    @Test func theChildWritesMemoryAsItWas() throws {
        let store = try fixture.store()
        let bytes = fixture.bytes(64 << 20)
        let before = Data(bytes)
        try store.begin(fixture.content(position: 1, bytes))
        bytes.initializeMemory(as: UInt8.self, repeating: 0xEE)
        #expect(store.finish().info != nil)
        #expect(try store.newest()?.data("users") == before)
        #expect(bytes[0] == 0xEE)
    }

    @Test func pollingDoesNotWait() throws {
        let store = try fixture.store()
        #expect(store.poll() == nil)
        try store.begin(fixture.content(position: 1))
        var outcome: SnapshotOutcome?
        try waitUntil {
            outcome = store.poll()
            return outcome != nil
        }
        #expect(outcome.info?.position == 1)
        #expect(store.poll() == nil && store.finish() == nil)
    }

    @Test func aChildThatIsKilled() throws {
        let store = try fixture.store()
        let old = try store.write(fixture.content(position: 1))
        try store.begin(fixture.endless(position: 2))
        let child = try fixture.midway(store)
        #expect(store.poll() == nil)
        // It answers no signal but SIGKILL: Ctrl-C is for the daemon to handle.
        for ignored in [SIGINT, SIGTERM, SIGHUP, SIGABRT] { kill(child, ignored) }
        usleep(20_000)
        #expect(store.poll() == nil)
        kill(child, SIGKILL)
        let error = store.finish().error
        #expect(error?.kind == .io && error?.reason.contains("signal 9 (Killed)") == true)
        #expect(fixture.names == [old.name])
        #expect(try store.newest()?.info == old)
        #expect(try store.write(fixture.content(position: 2)).position == 2)
    }

    @Test func cancelling() throws {
        let store = try fixture.store()
        store.cancel()
        #expect(store.poll() == nil)
        try store.begin(fixture.endless(position: 2))
        let child = try fixture.midway(store)
        store.cancel()
        #expect(!store.isWriting)
        #expect(kill(child, 0) != 0 && errno == ESRCH)
        #expect(store.poll().error?.kind == .cancelled)
        #expect(store.poll() == nil)
        try store.begin(fixture.content(position: 3))
        #expect(store.finish().info?.position == 3)
        try waitUntil { fixture.names == [fixture.name(of: 3)] }
    }

    /// The kernel closes the channel of a parent that dies; the child ends, and leaves nothing.
    @Test func theParentsEnd() throws {
        let store = try fixture.store()
        try store.begin(fixture.endless(position: 2))
        _ = try fixture.midway(store)
        // Both ways at once, as the kernel does.
        #expect(shutdown(try #require(store.running).child.channel, Int32(SHUT_RDWR)) == 0)
        // It ended by itself, with nobody to report to.
        let error = store.finish().error
        #expect(error?.kind == .io && error?.reason == "the process that wrote it was ended", "\(error as Any)")
        #expect(fixture.names.isEmpty)
    }

    @Test func theChildHoldsNothingOfTheDaemon() throws {
        let store = try fixture.store()
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let high = fcntl(ends[1], F_DUPFD, 900)
        defer { for end in ends + [high] { close(end) } }
        try store.begin(fixture.endless(position: 2))
        let child = try fixture.midway(store)
        let held = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(child)/fd").compactMap { Int32($0) }
        let targets = held.filter { $0 > 2 }.compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(child)/fd/\($0)")
        }
        let folder = "\(fixture.directory)/.writing-\(fixture.name(of: 2))"
        let files = [fixture.directory, fixture.directory + "/.lock", folder, folder + "/zeros.bin"]
        #expect(Set(targets.filter { !$0.hasPrefix("socket:") }) == Set(files))
        #expect(targets.count == files.count + 1, "\(targets)")
        // It gives way: to the stream, and when memory runs out.
        #expect(getpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(child)) == 10)
        let score = try String(contentsOfFile: "/proc/\(child)/oom_score_adj", encoding: .utf8)
        #expect(score == "1000\n")
    }
}
