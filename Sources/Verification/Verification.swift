public import EventInput
public import Kafka

/// What is to be verified, and how.
public struct Verification: Sendable {
    /// Where the topics are.
    public struct Cluster: Sendable {
        public var bootstrap: String
        /// librdkafka's names and values.
        public var properties: [String: String]

        public init(bootstrap: String, properties: [String: String] = [:]) {
            (self.bootstrap, self.properties) = (bootstrap, properties)
        }
    }

    /// Up to where input records are expected to have outputs.
    public enum End: Sendable, Equatable {
        /// To what the group has committed.
        case committed(group: String)
        /// To where the topics end.
        case log
        /// To this offset of each partition.
        case offset(Int64)
    }

    public var cluster: Cluster
    public var inputs: [String]
    public var updates: String
    public var deadLetters: String
    public var format: EventFormat
    public var limits: InputLimits
    public var currency: CurrencyTable
    /// Where the schemas of records are, if they need any.
    public var schemas: (@Sendable () -> any SchemaSource)?
    /// Records that are stepped over and have a dead letter.
    public var skips = SkippedOffsets()
    /// First offset of each partition; nil: where the log begins.
    public var from: Int64?
    public var to: End
    /// Whether the inputs are the topic that a first stage writes: what counts is the key that a record had before it.
    public var isRouted = false
    /// Whether updates may be gone because later ones of the same user replaced them.
    public var compacted = false
    /// Most events of a customer on a day, where further ones are ignored; 0: none is ignored for that.
    public var mostEventsPerDay = 0
    /// How long brokers may say nothing, seconds.
    public var patience = 30.0
    /// How long a transaction may be open in an output, seconds: the default of librdkafka is a minute, after which
    /// brokers look every ten seconds.
    public var transactionPatience = 90.0
    /// Records without an output that are held in memory at a time, some 60 bytes each.
    var mostSuspects = 1_000_000

    public init(
        cluster: Cluster, inputs: [String], updates: String, deadLetters: String, format: EventFormat,
        limits: InputLimits = InputLimits(), currency: CurrencyTable = CurrencyTable(), from: Int64? = nil, to: End
    ) {
        (self.cluster, self.inputs, self.updates, self.deadLetters) = (cluster, inputs, updates, deadLetters)
        (self.format, self.limits, self.currency) = (format, limits, currency)
        (self.from, self.to) = (from, to)
    }

    /// What is being done.
    public enum Phase: String, Sendable {
        case outputs = "Outputs"
        case users = "Users"
        case records = "Records"
        case repeats = "Repeats"
        case routed = "Events"
        case inputs = "Inputs"
    }

    /// What was found. `records = updates + deadLetters + accounted + missing`.
    public struct Report: Encodable, Sendable, Equatable {
        /// Input records in the range.
        public var records: Int64 = 0
        /// Of them those that have an update, or the tombstone of an erased user.
        public var updates: Int64 = 0
        /// Of them those that have a dead letter.
        public var deadLetters: Int64 = 0
        /// Of them those that have no output, and need none: the sum of `reasons`.
        public var accounted: Int64 {
            reasons.duplicates + reasons.ignored + reasons.tombstones + reasons.superseded + reasons.identifies
                + reasons.passedOn
                + reasons.messages
        }
        /// Of them those that have no output and need one.
        public var missing: Int64 = 0
        /// Outputs beyond the first of a record.
        public var double: Int64 = 0
        /// Outputs of another customer or event than the record's that they name, and dead letters of other bytes: the
        /// topic was made anew since.
        public var strange: Int64 = 0
        public var reasons = Reasons()
        /// Outputs in the range whose record is not in the log.
        public var orphans: Int64 = 0
        /// Records of the output topics that name no source.
        public var foreign: Int64 = 0
        /// Customers of the input, and those of them that have records in more than one partition: of a sample, where
        /// one stands for `oneIn` customers.
        public var keying = Keying()
        public var compacted = false
        /// The first that are missing, double or strange, in the order they were found.
        public var findings: [Finding] = []
        public var partitions: [Partition] = []
        /// What was found of the first stage; nil: there is none.
        public var route: RouteReport?

        /// Why records need no output.
        public struct Reasons: Encodable, Sendable, Equatable {
            /// An earlier record of the partition with the same user and event id has an update.
            public var duplicates: Int64 = 0
            /// The format ignores events of its type, or the customer had had its events of the day.
            public var ignored: Int64 = 0
            public var tombstones: Int64 = 0
            /// A later record of the user has an update, which replaced this one's in the compacted topic.
            public var superseded: Int64 = 0

            /// It says whose an id is, and there was nothing to move.
            public var identifies: Int64 = 0
            /// It is in the topic of events once more, for the partition of the customer.
            public var passedOn: Int64 = 0
            /// No event: partitions of the topic of events tell each other of ids.
            public var messages: Int64 = 0

            public init(
                duplicates: Int64 = 0, ignored: Int64 = 0, tombstones: Int64 = 0, superseded: Int64 = 0,
                identifies: Int64 = 0
            ) {
                (self.duplicates, self.ignored) = (duplicates, ignored)
                (self.tombstones, self.superseded, self.identifies) = (tombstones, superseded, identifies)
            }
        }

        /// Whether customers stay in one partition.
        public struct Keying: Encodable, Sendable, Equatable {
            public var customers = 0
            public var splitCustomers = 0
            public var oneIn: Int64 = 1
            /// Two records of the first that was found in two partitions.
            public var example: [Place] = []

            /// A record.
            public struct Place: Encodable, Sendable, Equatable {
                public var topic: String
                public var partition: Int32
                public var offset: Int64
            }
        }

        /// Something that is wrong.
        public struct Finding: Encodable, Sendable, Equatable {
            public enum Kind: String, Encodable, Sendable { case missing, double, strange }
            public var kind: Kind
            public var topic: String
            public var partition: Int32
            public var offset: Int64
            /// What is known of it.
            public var remark: String
        }

        /// The offsets that were looked at.
        public struct Partition: Encodable, Sendable, Equatable {
            public var topic: String
            public var partition: Int32
            public var from: Int64
            public var to: Int64
        }

        public static let mostFindings = 100

        mutating func found(_ kind: Finding.Kind, _ p: TopicPartition, _ offset: Int64, _ remark: String) {
            switch kind {
            case .missing: missing += 1
            case .double: double += 1
            case .strange: strange += 1
            }
            guard findings.count < Self.mostFindings else { return }
            findings.append(
                Finding(kind: kind, topic: p.topic, partition: p.partition, offset: offset, remark: remark))
        }

        private enum CodingKeys: String, CodingKey {
            case records, updates, deadLetters, accounted, missing, double, strange, reasons, orphans, foreign
            case keying, compacted, findings, partitions, route
        }

        public func encode(to encoder: any Encoder) throws {
            var c = encoder.container(keyedBy: CodingKeys.self)
            try c.encode(records, forKey: .records)
            try c.encode(updates, forKey: .updates)
            try c.encode(deadLetters, forKey: .deadLetters)
            try c.encode(accounted, forKey: .accounted)
            try c.encode(missing, forKey: .missing)
            try c.encode(double, forKey: .double)
            try c.encode(strange, forKey: .strange)
            try c.encode(reasons, forKey: .reasons)
            try c.encode(orphans, forKey: .orphans)
            try c.encode(foreign, forKey: .foreign)
            try c.encode(keying, forKey: .keying)
            try c.encode(compacted, forKey: .compacted)
            try c.encode(findings, forKey: .findings)
            try c.encode(partitions, forKey: .partitions)
            try c.encodeIfPresent(route, forKey: .route)
        }
    }
}
