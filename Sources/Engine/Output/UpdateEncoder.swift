import CEventParser
import Glibc

/// Writes updates as JSON. The fixed parts are laid out once from the configuration; a value is read from the
/// prediction row and written between two literals.
struct UpdateEncoder: ~Copyable {
    /// What an update says beside its event.
    struct Update {
        /// [cells] of the prediction.
        var predictions: UnsafePointer<Float>
        /// [value readings × 2], lower and upper bounds of the intervals.
        var bounds: UnsafePointer<Float>
        /// Net money so far, base currency.
        var valueToDate: Double
        var orders: UInt32
        /// Seconds since 1970; 0: never.
        var lastPurchase: UInt32
        /// 0 to 100: of the customers of the partition, how many have a lower expected value.
        var percentile: Double
        var segment: Segment
        /// Changes since the user's update before; 0 when there was none.
        var valueChange: Double
        var churnChange: Double
        var confidence: Double
        var modelVersion: Int64
    }

    private struct Piece {
        var literalAt: Int
        var literalLength: Int
        var reading: HorizonReading
        /// Place of a bound of an interval; -1 for a prediction.
        var bound: Int32
    }

    private let literals: UnsafeMutableBufferPointer<UInt8>
    private let segments: UnsafeMutableBufferPointer<Piece>
    /// Closes the last group of predictions.
    private let tailAt: Int
    /// `"source":{"topic":"…","partition":` of each topic.
    private let topics: [[UInt8]]
    /// `,"currency":"…","orders":`
    private let currency: [UInt8]

    /// - Parameters:
    ///   - topics: names of the input topics by index.
    ///   - currency: of all money, three letters.
    init(targetTable: TargetTable, topics: [String], currency: String) {
        self.currency = Array(",\"currency\":\"\(currency)\",\"orders\":".utf8)
        var bytes: [UInt8] = []
        var parts: [Piece] = []
        var text = ""
        func add(_ reading: HorizonReading, bound: Int = -1) {
            parts.append(
                Piece(
                    literalAt: bytes.count, literalLength: text.utf8.count, reading: reading, bound: Int32(bound)))
            bytes.append(contentsOf: text.utf8)
            text = ""
        }
        var bounds = 0
        for (i, target) in targetTable.targets.enumerated() {
            let name = target.kind.rules.field(target.name)
            if target.kind.rules.isPublishedAtLongestHorizonOnly, let longest = target.horizonsDays.last {
                text += ",\"\(name)\":"
                add(targetTable.reading(target: i, horizon: longest))
                continue
            }
            text += ",\"\(name)\":{"
            for (k, days) in target.horizonsDays.enumerated() {
                text += (k == 0 ? "" : ",") + "\"\(HorizonDays.text(days))\":"
                add(targetTable.reading(target: i, horizon: days))
            }
            text += "}"
            guard target.kind.isMoney else { continue }
            text += ",\"\(name)_interval\":{"
            for (k, days) in target.horizonsDays.enumerated() {
                text += (k == 0 ? "" : ",") + "\"\(HorizonDays.text(days))\":["
                let reading = targetTable.reading(target: i, horizon: days)
                add(reading, bound: bounds)
                text += ","
                add(reading, bound: bounds + 1)
                text += "]"
                bounds += 2
            }
            text += "}"
        }
        tailAt = bytes.count
        bytes.append(contentsOf: text.utf8)
        literals = .allocate(capacity: bytes.count)
        _ = literals.initialize(from: bytes)
        segments = .allocate(capacity: parts.count)
        _ = segments.initialize(from: parts)
        self.topics = topics.map { topic in
            var w = ByteWriter(capacity: 64)
            w.append(",\"source\":{\"topic\":")
            let name = Array(topic.utf8)
            name.withUnsafeBufferPointer { w.append(json: $0.baseAddress!, $0.count) }
            w.append(",\"partition\":")
            return Array(UnsafeBufferPointer(start: w.base, count: w.count))
        }
    }

    deinit {
        literals.deallocate()
        segments.deallocate()
    }

    /// - Parameter user: the customer; the event may name an alias instead, which is then told beside its place.
    func write(
        _ update: Update, of event: UnsafePointer<clvd_event>, user: UnsafeBufferPointer<UInt8>, _ w: inout ByteWriter
    ) {
        let e = event.pointee
        w.append("{\"user_id\":")
        w.append(json: user.baseAddress!, user.count)
        w.append(",\"event_id\":")
        if let id = e.event_id {
            w.append(json: id, Int(e.event_id_length))
        } else {
            w.append("null")
        }
        w.append(",\"event_time\":")
        w.append(time: e.time_ms)
        source(topic: e.topic, partition: e.partition, offset: e.offset, &w)
        if Int(e.user_length) != user.count || memcmp(e.user!, user.baseAddress!, user.count) != 0 {
            w.append(",\"user_id\":")
            w.append(json: e.user!, Int(e.user_length))
        }
        w.append("}")
        predictions(update.predictions, bounds: update.bounds, &w)
        w.append(",\"value_to_date\":")
        w.append(number: update.valueToDate)
        w.append(currency)
        w.append(integer: Int64(update.orders))
        w.append(",\"last_purchase_time\":")
        w.append(timeOrNull: update.lastPurchase)
        w.append(",\"percentile\":")
        w.append(number: (update.percentile * 10).rounded() / 10)
        switch update.segment {
        case .high: w.append(",\"segment\":\"high\"")
        case .mid: w.append(",\"segment\":\"mid\"")
        case .low: w.append(",\"segment\":\"low\"")
        }
        w.append(",\"change\":{\"value\":")
        w.append(number: update.valueChange)
        w.append(",\"churn_probability\":")
        w.append(number: update.churnChange)
        w.append("},\"confidence\":")
        w.append(number: update.confidence)
        w.append(",\"model_version\":")
        w.append(integer: update.modelVersion)
        w.append("}")
    }

    /// The predictions of a row and the bounds of their intervals: `,"clv":{"7":…},"clv_interval":{"7":[…,…]},…`.
    @inline(__always)
    private func predictions(_ row: UnsafePointer<Float>, bounds: UnsafePointer<Float>, _ w: inout ByteWriter) {
        let base = literals.baseAddress!
        for s in segments {
            w.append(base + s.literalAt, s.literalLength)
            if s.bound < 0 { s.reading.write(row, &w) } else { w.append(number: Double(bounds[Int(s.bound)])) }
        }
        w.append(base + tailAt, literals.count - tailAt)
    }

    @inline(__always)
    private func source(topic: Int32, partition: Int32, offset: Int64, _ w: inout ByteWriter) {
        w.append(topics[Int(topic)])
        w.append(integer: Int64(partition))
        w.append(",\"offset\":")
        w.append(integer: offset)
    }
}
