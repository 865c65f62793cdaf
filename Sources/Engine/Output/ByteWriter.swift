import Glibc

/// A growing buffer of bytes with just what JSON needs. Reused for every batch: it allocates only while growing.
struct ByteWriter: ~Copyable {
    private(set) var base: UnsafeMutablePointer<UInt8>
    private(set) var count = 0
    private var capacity: Int

    init(capacity: Int = 1 << 16) {
        self.capacity = capacity
        base = .allocate(capacity: capacity)
    }

    deinit { base.deallocate() }

    mutating func reset() { count = 0 }

    @inline(__always)
    private mutating func reserve(_ n: Int) {
        if count + n > capacity { grow(n) }
    }

    private mutating func grow(_ n: Int) {
        capacity = max(capacity * 2, count + n)
        let bigger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        memcpy(bigger, base, count)
        base.deallocate()
        base = bigger
    }

    @inline(__always)
    mutating func append(_ s: StaticString) {
        reserve(s.utf8CodeUnitCount)
        memcpy(base + count, s.utf8Start, s.utf8CodeUnitCount)
        count += s.utf8CodeUnitCount
    }

    @inline(__always)
    mutating func append(_ bytes: UnsafePointer<UInt8>, _ n: Int) {
        reserve(n)
        memcpy(base + count, bytes, n)
        count += n
    }

    @inline(__always)
    mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBufferPointer { if let p = $0.baseAddress { append(p, $0.count) } }
    }

    @inline(__always)
    mutating func append(byte: UInt8) {
        reserve(1)
        base[count] = byte
        count += 1
    }

    /// Decimal digits of an integer.
    mutating func append(integer value: Int64) {
        reserve(20)
        if value < 0 { append(byte: UInt8(ascii: "-")) }
        append(digits: value.magnitude, width: 1)
    }

    /// Decimal digits, padded with zeros to `width`.
    private mutating func append(digits value: UInt64, width: Int) {
        reserve(20)
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { d in
            var v = value
            var n = 0
            repeat {
                d[n] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: v % 10)
                v /= 10
                n += 1
            } while v != 0 || n < width
            for i in 0..<n { base[count + i] = d[n - 1 - i] }
            count += n
        }
    }

    /// A number with at most six decimals, trailing zeros dropped. Finite values only; beyond 9e12 it is cut off there.
    mutating func append(number value: Double) {
        precondition(value.isFinite, "a non-finite number reached the output")
        let scaled = (max(-9e12, min(9e12, value)) * 1e6).rounded()
        var v = UInt64(abs(scaled))
        if scaled < 0 { append(byte: UInt8(ascii: "-")) }
        append(digits: v / 1_000_000, width: 1)
        v %= 1_000_000
        guard v != 0 else { return }
        var width = 6
        while v % 10 == 0 {
            v /= 10
            width -= 1
        }
        append(byte: UInt8(ascii: "."))
        append(digits: v, width: width)
    }

    /// A JSON string in quotes. The bytes are valid UTF-8 (the decoder saw to it).
    mutating func append(json s: UnsafePointer<UInt8>, _ n: Int) {
        reserve(6 * n + 2)
        append(byte: UInt8(ascii: "\""))
        for i in 0..<n {
            let c = s[i]
            if c >= 0x20 && c != UInt8(ascii: "\"") && c != UInt8(ascii: "\\") {
                base[count] = c
                count += 1
            } else if c >= 0x20 {
                base[count] = UInt8(ascii: "\\")
                base[count + 1] = c
                count += 2
            } else {
                append("\\u00")
                let hex: StaticString = "0123456789abcdef"
                append(byte: hex.utf8Start[Int(c >> 4)])
                append(byte: hex.utf8Start[Int(c & 15)])
            }
        }
        append(byte: UInt8(ascii: "\""))
    }

    /// ISO 8601 in UTC with milliseconds, in quotes. Civil date from days after Howard Hinnant's
    /// `civil_from_days` (chrono-compatible low-level date algorithms).
    mutating func append(time ms: Int64) {
        let days = Clock.index(ms, per: Clock.day)
        let rest = ms - days * Clock.day
        let z = days + 719_468
        let era = (z >= 0 ? z : z - 146_096) / 146_097
        let doe = z - era * 146_097
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100)
        let mp = (5 * doy + 2) / 153
        let month = mp < 10 ? mp + 3 : mp - 9
        let year = yoe + era * 400 + (month <= 2 ? 1 : 0)
        append(byte: UInt8(ascii: "\""))
        append(digits: UInt64(year), width: 4)
        append(byte: UInt8(ascii: "-"))
        append(digits: UInt64(month), width: 2)
        append(byte: UInt8(ascii: "-"))
        append(digits: UInt64(doy - (153 * mp + 2) / 5 + 1), width: 2)
        append(byte: UInt8(ascii: "T"))
        append(digits: UInt64(rest / Clock.hour), width: 2)
        append(byte: UInt8(ascii: ":"))
        append(digits: UInt64(rest / 60_000 % 60), width: 2)
        append(byte: UInt8(ascii: ":"))
        append(digits: UInt64(rest / 1000 % 60), width: 2)
        append(byte: UInt8(ascii: "."))
        append(digits: UInt64(rest % 1000), width: 3)
        append("Z\"")
    }

    /// A time in seconds since 1970 as `append(time:)` writes it; `null` for 0.
    mutating func append(timeOrNull seconds: UInt32) {
        if seconds == 0 { append("null") } else { append(time: Int64(seconds) * Clock.second) }
    }

    /// Sixteen hexadecimal digits in quotes.
    mutating func append(hex value: UInt64) {
        let hex: StaticString = "0123456789abcdef"
        append(byte: UInt8(ascii: "\""))
        for shift in stride(from: 60, through: 0, by: -4) {
            append(byte: hex.utf8Start[Int(value >> UInt64(shift) & 15)])
        }
        append(byte: UInt8(ascii: "\""))
    }
}
