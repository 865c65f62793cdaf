import CEventParser
import EventInput
import Simulation

/// The events of a file, dealt to partitions by user.
package final class PartitionedEvents {
    private(set) var events: [clvd_event] = []
    package let partitions: Int
    /// In the order of their first events.
    package private(set) var users: [String] = []
    /// Users up to and with each event.
    private(set) var known: [Int] = []
    private var keys: [UnsafeMutablePointer<UInt8>] = []

    package var count: Int { events.count }

    /// - Throws: `InputError`.
    package init(_ file: EventFile, partitions: Int) throws {
        self.partitions = partitions
        var places: [String: Int] = [:]
        var offsets = [Int64](repeating: 0, count: partitions)
        while true {
            let batch = try file.next(maximum: 8192)
            if batch.isEmpty { break }
            for var event in batch where event.status == UInt8(clvd_status_ok.rawValue) {
                let bytes = UnsafeBufferPointer(start: event.user!, count: Int(event.user_length))
                let user = String(decoding: bytes, as: UTF8.self)
                let place = places[user] ?? add(user, bytes, to: &places)
                let partition = Self.partition(place, of: partitions)
                event.user = UnsafePointer(keys[place])
                event.event_id = nil
                // Their customers are the ids that the file names.
                (event.alias, event.alias_length) = (nil, 0)
                event.event_id_length = 0
                event.topic = 0
                event.partition = Int32(partition)
                event.offset = offsets[partition]
                offsets[partition] += 1
                events.append(event)
                known.append(users.count)
            }
        }
    }

    deinit { for key in keys { key.deallocate() } }

    private func add(_ user: String, _ bytes: UnsafeBufferPointer<UInt8>, to places: inout [String: Int]) -> Int {
        let key = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        key.initialize(from: bytes.baseAddress!, count: bytes.count)
        keys.append(key)
        places[user] = users.count
        users.append(user)
        return users.count - 1
    }

    private static func partition(_ user: Int, of partitions: Int) -> Int {
        var random = SplitMix64(seed: UInt64(user))
        return Int(random.next() % UInt64(partitions))
    }
}

/// An order in which the records of several partitions may come: each partition in its own order, and up to `ahead`
/// records of the whole stream before or behind the others; now and then one is eight times as far behind, as after a
/// restart.
package struct Interleaving {
    package var seed: UInt64
    package var ahead: Int
    package var interruptions: Int

    package init(seed: UInt64, ahead: Int, interruptions: Int) {
        (self.seed, self.ahead, self.interruptions) = (seed, ahead, interruptions)
    }

    /// Places of the records of a stretch in the order in which they come.
    func order(_ input: PartitionedEvents, _ range: Range<Int>) -> [Int] {
        var random = SplitMix64(seed: seed &* 0x9E37_79B9 &+ UInt64(range.lowerBound))
        func below(_ n: Int) -> Int { Int(random.next() % UInt64(max(1, n))) }
        var lag = (0..<input.partitions).map { _ in below(ahead + 1) }
        var renewal = lag.map { _ in range.lowerBound }
        var latest = lag.map { _ in 0 }
        let stops = (0..<interruptions).map { _ in
            (at: range.lowerBound + below(range.count), partition: below(input.partitions))
        }
        var keys: [(key: Int, place: Int)] = []
        keys.reserveCapacity(range.count)
        for i in range {
            let p = Int(input.events[i].partition)
            if i >= renewal[p] {
                lag[p] = below(ahead + 1)
                renewal[p] = i + max(1, ahead)
            }
            var key = i + lag[p]
            for stop in stops where stop.partition == p && (0..<8 * ahead).contains(i - stop.at) {
                key = stop.at + 8 * ahead
            }
            latest[p] = max(latest[p], key)
            keys.append((latest[p], i))
        }
        return keys.sorted { $0.key != $1.key ? $0.key < $1.key : $0.place < $1.place }.map(\.place)
    }
}
