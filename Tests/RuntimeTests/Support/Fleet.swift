import Foundation
import Kafka
import Runtime
import Settings
import SnapshotStore
import Testing

@testable import Engine

/// What instances that share a group's partitions and a store are to have done together.
extension Site {
    /// Events of a shop, the same user always in the same partition.
    func events(_ shop: inout Shop, _ n: Int) -> [Input] {
        shop.events(n).map {
            var event = $0
            event.partition = Int32(event.key!.last!) % Int32(partitions)
            return event
        }
    }

    /// Waits until the group has committed so many records, and nothing beyond.
    func settled(_ records: Int, seconds: Double = 60, _ logs: @autoclosure () -> String) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        var sum: Int64 = 0
        while true {
            do {
                let offsets = try cluster.committed(input[0], partitions: partitions, group: settings.kafka.groupId)
                sum = offsets.values.reduce(0) { $0 + $1.offset }
            } catch let error as KafkaError where error.isPassing {
                // A busy broker answers the next time.
            }
            if sum == Int64(records) { return }
            guard ContinuousClock.now < end else {
                throw Late(description: "\(sum) of \(records) committed within \(seconds) s\n\(logs())")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Updates by the record that each is of: those that are not there, and those that are there more than once.
    func accounts(_ records: Int) async throws -> (missing: Int, double: Int) {
        let updates = try await updates()
        let distinct = Set(updates.map(\.source)).count
        return (records - distinct, updates.count - distinct)
    }

    /// A partition's state, from whoever has kept it last.
    struct PartitionState: Equatable {
        var offset: Int64
        var users: Data
        var keys: Data
        var task: PartitionTask.Image

        /// Windows, totals and what else does not hang on a model: not on what it predicted or learned from.
        func statistics(_ layout: UserLayout) -> Data {
            var users = users
            func clear<T>(_ start: Int, _ path: KeyPath<UserHeader, T>) {
                let at = start + MemoryLayout<UserHeader>.offset(of: path)!
                users.resetBytes(in: at..<at + MemoryLayout<T>.size)
            }
            for start in stride(from: 0, to: users.count, by: layout.size) {
                clear(start, \.landmark)
                clear(start, \.lastValue)
                clear(start, \.lastChurn)
                clear(start, \.alertRaisedAt)
                clear(start, \.alerts)
                users[start + MemoryLayout<UserHeader>.offset(of: \.flags)!] &= UserHeader.inUse
                users.resetBytes(in: start + layout.rolling..<start + layout.boundary + layout.stateBytes)
            }
            return users
        }
    }

    /// The furthest state of each partition in the store.
    func states() throws -> [Int32: PartitionState] {
        var states: [Int32: PartitionState] = [:]
        for (_, info) in try SharedSnapshotFolder.snapshots(in: settings.snapshots.directory) {
            let snapshot = try SnapshotStore.open(path: info.path)
            for task in try EngineSnapshot.metadata(snapshot).tasks {
                if let state = states[task.id.partition], state.offset >= task.nextOffset { continue }
                let name = "task-0-\(task.id.partition)"
                states[task.id.partition] = try withExtendedLifetime(snapshot) {
                    PartitionState(
                        offset: task.nextOffset, users: Data(try snapshot.section("\(name)-users")),
                        keys: Data(try snapshot.section("\(name)-keys")), task: task)
                }
            }
        }
        return states
    }

    /// The same states and the same words as those of one instance that did it all.
    /// - Parameter learning: each instance has a model of its own, so that only what does not hang on it is the same.
    func expectSame(as reference: Site, records: Int, learning: Bool = false) async throws {
        let (states, expected) = (try states(), try reference.states())
        #expect(states.keys.sorted() == expected.keys.sorted() && states.count == partitions)
        let model = settings.engine.model
        let layout = UserLayout(units: model.units, hasCell: model.recurrent == .lstm)
        for (p, state) in states {
            let wanted = try #require(expected[p])
            #expect(state.offset == wanted.offset && state.keys == wanted.keys, "partition \(p)")
            #expect(state.statistics(layout) == wanted.statistics(layout), "statistics of partition \(p)")
            guard !learning else { continue }
            #expect(state.users == wanted.users, "recurrent states of partition \(p)")
            #expect(state.task == wanted.task, "partition \(p)")
        }
        guard !learning else { return }
        func words(_ site: Site) async throws -> [Source: Set<[UInt8]>] {
            try await site.updates().reduce(into: [:]) { $0[$1.source, default: []].insert($1.record.value ?? []) }
        }
        let (said, all) = (try await words(self), try await words(reference))
        #expect(said.count == records && said == all, "the same words about each record")
    }
}

/// How often an instance that is an own process has taken partitions on and the like.
extension RunningProgram {
    func count(_ part: String) -> Int { errors.split(separator: "\n").count { $0.contains(part) } }
}
