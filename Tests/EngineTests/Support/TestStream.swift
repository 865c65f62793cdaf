import CEventParser
import Glibc

@testable import Engine

let day: Int64 = 86_400_000
let hour: Int64 = 3_600_000
/// 2021-01-04 00:00 UTC, a Monday.
let epoch: Int64 = 1_609_718_400_000

/// Decoded records with the memory that they point into.
final class TestStream {
    private(set) var events: [clvd_event] = []
    private var strings: [UnsafeMutableBufferPointer<UInt8>] = []
    private var interned: [String: UnsafeMutableBufferPointer<UInt8>] = [:]
    private var offsets: [Int32: Int64] = [:]

    deinit { for s in strings { s.deallocate() } }

    private func intern(_ s: String) -> UnsafeMutableBufferPointer<UInt8> {
        if let known = interned[s] { return known }
        let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, s.utf8.count))
        _ = copy.initialize(from: s.utf8)
        strings.append(copy)
        interned[s] = copy
        return copy
    }

    static func hash(_ s: String) -> UInt64 {
        var s = s
        return s.withUTF8 { clvd_hash($0.baseAddress!, $0.count) }
    }

    /// - Parameter offset: nil for the next one of the partition.
    func add(
        _ user: String, _ type: EventType, at time: Int64, amount: Double = 0, id: String? = nil, order: String? = nil,
        session: String? = nil, category: String? = nil, partition: Int32 = 0,
        flags: UInt8 = 0, status: clvd_status = clvd_status_ok, offset: Int64? = nil, alias: String? = nil
    ) {
        var e = clvd_event()
        let key = intern(user)
        e.user = UnsafePointer(key.baseAddress)
        e.user_length = UInt32(user.utf8.count)
        if let id {
            e.event_id = UnsafePointer(intern(id).baseAddress)
            e.event_id_length = UInt32(id.utf8.count)
            e.event_id_hash = TestStream.hash(id)
        }
        if let alias {
            e.alias = UnsafePointer(intern(alias).baseAddress)
            e.alias_length = UInt32(alias.utf8.count)
        }
        e.order_hash = order.map(TestStream.hash) ?? 0
        e.session_hash = session.map(TestStream.hash) ?? 0
        e.category_hash = category.map(TestStream.hash) ?? 0
        e.time_ms = time
        e.amount = amount
        e.flags = flags
        e.type = type.rawValue
        e.status = UInt8(status.rawValue)
        e.partition = partition
        e.offset = offset ?? offsets[partition, default: 0]
        if offset == nil { offsets[partition] = e.offset + 1 }
        events.append(e)
    }

    /// The last event is so much later than the timestamp of its record.
    func isAhead(by ms: Int64) { events[events.count - 1].ahead_ms = ms }
    /// Changes the newest event.
    func amend(_ body: (inout clvd_event) -> Void) { body(&events[events.count - 1]) }
}

/// Random streams, the same for the same seed.
struct RandomStream {
    var users = 40
    var events = 3000
    var days = 220.0
    var partitions: Int32 = 1
    /// Also duplicates, late and too late events, rejected records, tombstones, erasures.
    var troubles = true
    var categories = 6
    /// Time that passes before an event, ms, beside the usual: by its place.
    var jumps: [Int: Int64] = [:]

    func make(seed: UInt64) -> TestStream {
        var random = RandomNumbers(seed: seed)
        let stream = TestStream()
        var now = epoch
        let gap = days * Double(day) / Double(events)
        for i in 0..<events {
            now += Int64(-gap * log(1 - random.uniform())) + jumps[i, default: 0]
            let u = random.below(users)
            // Every third user buys often, every third seldom, the rest never.
            let buys = [0.3, 0.05, 0][u % 3]
            let user = u % 7 == 0 ? "user-\(u)-with-a-name-that-is-longer-than-any-slot-can-hold" : "user-\(u)"
            let partition = Int32(u) % partitions
            let draw = random.uniform()
            let type: EventType =
                draw < buys ? .purchase : [.pageView, .view, .view, .addToCart, .checkout, .search][random.below(6)]
            var time = now
            var id = "event-\(i)"
            if troubles {
                let trouble = random.uniform()
                if trouble < 0.03 { time -= Int64(random.uniform() * 3_000_000) }
                if trouble > 0.03 && trouble < 0.04 { time -= Int64(random.uniform() * 1e9) }
                if trouble > 0.04 && trouble < 0.06 { id = "event-\(max(0, i - 1 - random.below(40)))" }
                if trouble > 0.06 && trouble < 0.08 {
                    let status = [
                        clvd_status_tombstone, clvd_status_ignored_type, clvd_status_invalid_json,
                        clvd_status_future_time, clvd_status_negative_amount, clvd_status_missing_user,
                    ][random.below(6)]
                    stream.add(user, .view, at: now + 1_000_000_000_000, partition: partition, status: status)
                    continue
                }
                if trouble > 0.08 && trouble < 0.083 {
                    stream.add(user, .userDeleted, at: time, id: id, partition: partition)
                    continue
                }
                if trouble > 0.083 && trouble < 0.09 {
                    stream.add(user, .refund, at: time, amount: 3, id: id, partition: partition)
                    continue
                }
            }
            let amount = type == .purchase ? (10 + 90 * random.uniform() * Double(1 + u % 4)).rounded() : 0
            let lines = type == .purchase ? 1 + random.below(3) : 1
            for line in 0..<lines {
                stream.add(
                    user, type, at: time + Int64(line) * 500, amount: amount, id: "\(id)/\(line)",
                    order: type == .purchase ? "order-\(i)" : nil,
                    session: random.uniform() < 0.3 ? "session-\(i / 8)" : nil,
                    category: random.uniform() < 0.8 ? "category-\(random.below(categories))" : nil,
                    partition: partition)
            }
        }
        return stream
    }
}
