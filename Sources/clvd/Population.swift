import CEventParser
import Engine

/// Users with one event a day each.
final class Population {
    private let engine: Engine
    private(set) var count = 0
    private let batch = UnsafeMutablePointer<clvd_event>.allocate(capacity: batchEvents)
    private let keys = UnsafeMutablePointer<UInt8>.allocate(capacity: batchEvents * keyBytes)
    static let batchEvents = 8192
    private static let keyBytes = 12
    private static let types = [clvd_type_page_view, clvd_type_view, clvd_type_add_to_cart, clvd_type_purchase]

    init(engine: Engine) { self.engine = engine }

    deinit {
        batch.deallocate()
        keys.deallocate()
    }

    func live(_ users: Int, days: Range<Int>, progress: (Int) -> Void) {
        var n = 0
        for day in days {
            for user in 0..<users {
                fill(n, user: user, day: day, of: users)
                n += 1
                if n == Self.batchEvents {
                    step(n)
                    n = 0
                    progress(count)
                }
            }
        }
        step(n)
    }

    /// The next `n` events of `users` users, up to a batch: everyone once a day, from `day` on.
    func live(next n: Int, of users: Int, from day: Int) {
        for i in 0..<min(n, Self.batchEvents) {
            fill(i, user: later % users, day: day + later / users, of: users)
            later += 1
        }
        step(min(n, Self.batchEvents))
    }
    private var later = 0

    private func step(_ n: Int) {
        engine.step(UnsafeBufferPointer(start: UnsafePointer(batch), count: n))
    }

    private func fill(_ i: Int, user: Int, day: Int, of users: Int) {
        let key = keys + i * Self.keyBytes
        var rest = user
        key[0] = UInt8(ascii: "u")
        for k in stride(from: Self.keyBytes - 1, to: 0, by: -1) {
            key[k] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        }
        let type = Self.types[day % 4]
        var e = clvd_event()
        e.offset = Int64(count)
        e.time_ms = 1_700_000_000_000 + Int64(day) * 86_400_000 + Int64(user) * 80_000_000 / Int64(users)
        e.user = UnsafePointer(key)
        e.user_length = UInt32(Self.keyBytes)
        e.type = UInt8(type.rawValue)
        e.category_hash = UInt64(user % 12 + 1)
        e.amount = type == clvd_type_purchase ? 10 + Double(user % 90) : 0
        e.record = UInt32(i)
        batch[i] = e
        count += 1
    }
}
