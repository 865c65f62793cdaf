import Engine
import EventInput
import Kafka

/// The table of keys. Reading, checking, writing, documentation and suggestions all come from it.
extension Settings {
    static let keys: [SettingKey<Settings>] =
        kafkaKeys + inputKeys + outputKeys + snapshotKeys + runtimeKeys + targetKeys + stateKeys + modelKeys
        + learningKeys + samplingKeys + stoppingKeys + decisionKeys

    /// What the sections are about, for the reference.
    static let sectionTitles: [String: String] = [
        "kafka": "The cluster, and this instance in it.",
        "input": "What is read.",
        "input.registry": "Where the schemas of records are.",
        "input.limits": "A record beyond one of these limits is a dead letter.",
        "input.currency": "Amounts are converted to one base currency.",
        "output": "What is written.",
        "snapshots": "The state on disk.",
        "runtime": "The process.",
        "time": "Event time.",
        "state": "What is known of users.",
        "model": "The network. A change needs a new start: snapshots belong to a model.",
        "learning": "Online learning.",
        "segments": "Segments by expected value.",
        "alerts": "Churn alerts.",
    ]

    /// Sections of all levels, in the order of their keys.
    static func sections(of paths: [String]) -> [String] {
        var sections: [String] = []
        for path in paths {
            for dot in path.indices where path[dot] == "." && !sections.contains(String(path[..<dot])) {
                sections.append(String(path[..<dot]))
            }
        }
        return sections
    }

    /// What stands in place of a secret.
    static let mask = "********"

    private static let kafkaKeys: [SettingKey<Settings>] = [
        SettingKey("kafka.bootstrapServers", \.kafka.bootstrapServers, "Brokers to start from.", .servers),
        SettingKey("kafka.groupId", \.kafka.groupId, "Consumer group.", .notEmpty),
        SettingKey(
            "kafka.instanceId", \.kafka.instanceId,
            "Name of this instance in the group. Static membership, the transactional id and its folder of snapshots "
                + "derive from it.",
            .instance),
        SettingKey(
            "kafka.staticMembership", \.kafka.staticMembership,
            "Whether partitions wait for an instance that is restarted within session.timeout.ms (group.instance.id), or "
                + "go to the others at once."),
        SettingKey(
            "kafka.assignment", \.kafka.assignment,
            "How partitions are shared among the instances of the group. Cooperative-sticky: only those that move stop; "
                + "range, roundrobin: all stop at each rebalance. All instances need the same."),
        SettingKey(
            "kafka.properties", \.kafka.properties,
            "Further librdkafka properties of all clients, such as security.protocol: SASL_SSL. A value may be "
                + "file:/path, the contents of a file. Secrets are never shown.",
            mask: { Dictionary(uniqueKeysWithValues: $0.map { ($0, KafkaProperties.isSecret($0) ? mask : $1) }) }),
    ]

    private static let inputKeys: [SettingKey<Settings>] = [
        SettingKey("input.topics", \.input.topics, "Topics of events."),
        SettingKey(
            "input.format", \.input.format,
            "Built-in format (native, segment, ga4, rees46) or path of a YAML file with one.", .notEmpty),
        SettingKey(
            "input.start", \.input.start,
            "Where to begin when the group has committed nothing and there is no snapshot."),
        SettingKey(
            "input.keying", \.input.keying,
            "Whether all records of a customer have to be in one partition, as they are when the customer's id is their "
                + "key. Strict: the daemon stops when 1 % of the customers are in more than one. As-is: such customers "
                + "have several states, which overwrite each other's updates. Repartition: a first stage writes the "
                + "records, keyed by customer, to a topic that the second one reads."),
        SettingKey(
            "input.eventsTopic", \.input.eventsTopic,
            "Topic between the two stages of input.keying: repartition; empty: the group's name and -events.",
            Rule(phrase: "empty or a topic name of 1 to 249 letters, digits, '.', '_' and '-'") {
                $0.isEmpty || isTopic($0)
            }),
        SettingKey(
            "input.eventsPartitions", \.input.eventsPartitions,
            "Partitions of that topic when it is created; 0: as many as the input topics have. Do not change them "
                + "afterwards.", .within(0...100_000)),
        SettingKey(
            "input.acceptCompacted", \.input.acceptCompacted,
            "Read topics that Kafka compacts. After a crash the state is then made again of what compaction left, and "
                + "values to date may be wrong."),
        SettingKey(
            "input.alignmentWaitMs", \.input.alignmentWaitMs,
            "Partitions that are behind advance together in the time of their records. How long they wait for one that "
                + "has none at hand; 0: records come as they arrive.", unit: "ms", .within(0...60_000)),
        SettingKey(
            "input.skip", \.input.skip,
            "Records to step over: topic/partition/offset or topic/partition/from-to. Each becomes a dead letter and "
                + "nothing else; a batch that cannot be read no longer stops its partition. Keep an entry until a "
                + "snapshot is past it."),
        SettingKey(
            "input.registry.url", \.input.registry.url,
            "Schema registry with Confluent's REST API, for a format with encoding: avro or protobuf. Empty: none.",
            Rule(phrase: "empty or begin with http:// or https://") {
                $0.isEmpty || $0.hasPrefix("http://") || $0.hasPrefix("https://")
            }),
        SettingKey(
            "input.registry.auth", \.input.registry.auth,
            "The registry's name:password (basic authentication) or Bearer TOKEN. May be file:/path. Never shown.",
            mask: { $0.isEmpty ? $0 : mask }),
        SettingKey("input.registry.cache", \.input.registry.cache, "Folder that keeps schemas. Empty: none."),
        SettingKey(
            "input.limits.maxRecordBytes", \.input.limits.maxRecordBytes, "Largest record.", unit: "bytes",
            .within(1...1 << 30)),
        SettingKey(
            "input.limits.maxIdBytes", \.input.limits.maxIdBytes, "Longest user id and event id, UTF-8.", unit: "bytes",
            .within(1...4096)),
        SettingKey(
            "input.limits.maxAmount", \.input.limits.maxAmount,
            "Largest amount and price of one event, in the base currency.", .above(0, upTo: 1e12)),
        SettingKey(
            "input.limits.maxQuantity", \.input.limits.maxQuantity, "Largest quantity of one event.",
            .above(0, upTo: 1e12)),
        SettingKey(
            "input.limits.minYear", \.input.limits.minYear, "First year of event time, UTC.",
            .within(InputLimits.years)),
        SettingKey(
            "input.limits.maxYear", \.input.limits.maxYear, "Last year of event time, UTC.",
            .within(InputLimits.years)),
        SettingKey(
            "input.limits.futureSkewSeconds", \.futureSkewSeconds,
            "How far event time may lie after the record's own timestamp: how far ahead clocks of devices are.",
            unit: "seconds",
            .within(0...3_153_600_000)),
        SettingKey("input.currency.base", \.input.currency.base, "Currency of all values, ISO 4217.", .currency),
        SettingKey(
            "input.currency.assumed", \.input.currency.assumed,
            "Currency of events that name none; empty: what the format says, else the base currency.",
            Rule(phrase: "empty or the three letters of a currency") { $0.isEmpty || CurrencyTable.isCode($0) }),
        SettingKey(
            "input.currency.rates", \.input.currency.rates,
            "Units of the base currency that one unit of a currency is worth, {EUR: 1.08}."),
    ]

    private static let outputKeys: [SettingKey<Settings>] = [
        SettingKey("output.updatesTopic", \.output.updatesTopic, "Topic of the predictions.", .topic),
        SettingKey("output.alertsTopic", \.output.alertsTopic, "Topic of the alerts.", .topic),
        SettingKey(
            "output.deadLetterTopic", \.output.deadLetterTopic, "Topic of the records that could not be used.", .topic),
        SettingKey("output.createTopics", \.output.createTopics, "Create output topics that are missing."),
        SettingKey(
            "output.partitions", \.output.partitions,
            "Partitions of created topics; 0: as many as the input topics have.", .within(0...100_000)),
        SettingKey(
            "output.replicationFactor", \.output.replicationFactor,
            "Replicas of created topics; -1: the broker's default.",
            Rule(phrase: "-1 or from 1 to 100") { $0 == -1 || (1...100).contains($0) }),
        SettingKey(
            "output.commitIntervalMs", \.output.commitIntervalMs, "Time after which a transaction is committed.",
            unit: "milliseconds", .within(1...30_000)),
        SettingKey(
            "output.commitRecords", \.output.commitRecords, "Records after which a transaction is committed at once.",
            .within(1...10_000_000)),
        SettingKey(
            "delivery", \.delivery,
            "Exactly-once: outputs and offsets in one Kafka transaction. At-least-once: offsets after the outputs; a "
                + "crash repeats some."),
    ]

    private static let snapshotKeys: [SettingKey<Settings>] = [
        SettingKey(
            "snapshots.directory", \.snapshots.directory,
            "Where snapshots are kept. "
                + "All instances of the group have to reach the same folder; each has a folder of its own in it.",
            .notEmpty),
        SettingKey(
            "snapshots.intervalSeconds", \.snapshots.intervalSeconds, "Wall clock between snapshots.", unit: "seconds",
            .within(1...604_800)),
        SettingKey(
            "snapshots.keep", \.snapshots.keep, "Newest snapshots of each partition that are kept, over all instances.",
            .within(1...1000)),
        SettingKey(
            "snapshots.acceptGap", \.snapshots.acceptGap,
            "Start although the log no longer reaches back to the snapshot; the records between are lost."),
        SettingKey(
            "snapshots.acceptMissingOffsets", \.snapshots.acceptMissingOffsets,
            "Go on from the snapshots although the group has committed nothing; what was published after them is "
                + "published again."),
        SettingKey(
            "snapshots.acceptOrigin", \.snapshots.acceptOrigin,
            "Take snapshots and offsets of another group or cluster as they are."),
        SettingKey(
            "snapshots.discardIncompatible", \.snapshots.discardIncompatible,
            "Start empty although the snapshot does not belong to this configuration."),
    ]

    private static let runtimeKeys: [SettingKey<Settings>] = [
        SettingKey(
            "runtime.threads", \.runtime.threads, "Threads of the engine; 0: one per processor.", .within(0...1024)),
        SettingKey(
            "runtime.batchRecords", \.runtime.batchRecords, "Most records of one micro-batch.", .within(1...1_000_000)),
        SettingKey(
            "runtime.idleTickSeconds", \.runtime.idleTickSeconds,
            "Wall clock without records after which the event clock follows it; 0: never.", unit: "seconds",
            .within(0...604_800)),
        SettingKey(
            "runtime.reportIntervalSeconds", \.runtime.reportIntervalSeconds, "Time between progress lines in the log.",
            unit: "seconds", .within(1...86_400)),
        SettingKey("runtime.logLevel", \.runtime.logLevel, "Least level that is logged."),
    ]

    private static let targetKeys: [SettingKey<Settings>] = [
        SettingKey("targets", \.engine.targets, "What is predicted, one head of the model each."),
        SettingKey(
            "binEdgesDays", \.engine.binEdgesDays,
            "Upper edges of the horizon bins, ascending. Every horizon of every target is one of them.", unit: "days"),
    ]

    private static let modelKeys: [SettingKey<Settings>] = [
        SettingKey("model.recurrent", \.engine.model.recurrent, "Kind of the recurrent cell."),
        SettingKey(
            "model.units", \.engine.model.units, "Width of the recurrent state.", .multiple(of: 16, upTo: 1024)),
        SettingKey(
            "model.hidden", \.engine.model.hidden, "Width of the hidden layer.", .multiple(of: 16, upTo: 1024)),
        SettingKey(
            "model.typeEmbedding", \.engine.model.typeEmbedding, "Width of the type embedding.", .within(1...128)),
        SettingKey(
            "model.categoryEmbedding", \.engine.model.categoryEmbedding, "Width of the category embedding.",
            .within(1...128)),
        SettingKey(
            "model.categoryBuckets", \.engine.model.categoryBuckets, "Rows of the hashed category embedding.",
            .powerOfTwo(upTo: 2048)),
        SettingKey(
            "model.crossEmbedding", \.engine.model.crossEmbedding, "Width of the embedding of category × hour of day.",
            .within(1...128)),
        SettingKey(
            "model.crossBuckets", \.engine.model.crossBuckets,
            "Rows of the hashed embedding of category × hour of day.",
            .powerOfTwo(upTo: 2048)),
        SettingKey(
            "model.purchaseProcess", \.engine.model.purchaseProcess,
            "Whether a purchase process (\"buy till you die\") is blended with the heads for users who have bought."),
        SettingKey("model.seed", \.engine.model.seed, "Seed of the initial weights."),
    ]

    private static let learningKeys: [SettingKey<Settings>] = [
        SettingKey(
            "learning.enabled", \.engine.learning.enabled,
            "Off: the weights and the standardisation stay as they are."),
        SettingKey("learning.optimizer", \.engine.learning.optimizer, "Optimizer."),
        SettingKey("learning.learningRate", \.engine.learning.learningRate, "Learning rate.", .above(0, upTo: 1)),
        SettingKey("learning.schedule", \.engine.learning.schedule, "Schedule of the learning rate."),
        SettingKey(
            "learning.warmupSteps", \.engine.learning.warmupSteps,
            "Steps over which the learning rate rises from zero.", .within(0...10_000_000)),
        SettingKey(
            "learning.scheduleSteps", \.engine.learning.scheduleSteps,
            "Steps of one cosine period, or the knee of the inverse square root.", .within(1...1_000_000_000)),
        SettingKey(
            "learning.minimumRateFactor", \.engine.learning.minimumRateFactor,
            "The rate never falls below this share of learningRate.", .share),
        SettingKey(
            "learning.beta1", \.engine.learning.beta1, "Decay of Adam's first moment.", .from(0, below: 1)),
        SettingKey(
            "learning.beta2", \.engine.learning.beta2, "Decay of Adam's second moment.", .from(0, below: 1)),
        SettingKey(
            "learning.epsilon", \.engine.learning.epsilon, "Adam's and AdaGrad's guard against division by zero.",
            .above(0, upTo: 1)),
        SettingKey("learning.momentum", \.engine.learning.momentum, "Momentum of SGD.", .from(0, below: 1)),
        SettingKey("learning.weightDecay", \.engine.learning.weightDecay, "Decay of the weights.", .share),
        SettingKey(
            "learning.clipNorm", \.engine.learning.clipNorm, "Largest global L2 norm of a gradient.",
            .above(0, upTo: 1_000_000)),
        SettingKey(
            "learning.dropoutState", \.engine.learning.dropoutState, "Dropout on the recurrent state.",
            .from(0, below: 1)),
        SettingKey(
            "learning.dropoutHidden", \.engine.learning.dropoutHidden, "Dropout on the hidden layer.",
            .from(0, below: 1)),
        SettingKey(
            "learning.emaDecay", \.engine.learning.emaDecay,
            "Decay per step of the moving average of the weights that serves.", .from(0, below: 1)),
        SettingKey(
            "learning.batchSize", \.engine.learning.batchSize, "Landmarks in a minibatch.", .within(1...65_536)),
        SettingKey(
            "learning.intervalRecords", \.engine.learning.intervalRecords,
            "Consumed records between two rounds of learning; with several partitions, about so many.",
            .within(1...10_000_000)),
        SettingKey(
            "learning.intervalHours", \.engine.learning.intervalHours,
            "Learning happens earlier when this much event time passes in fewer records; 0: never earlier.",
            unit: "hours",
            .within(0...8760)),
        SettingKey(
            "learning.calibrationDays", \.engine.learning.calibrationDays,
            "Event time after which an outcome counts a third in the head correction; 0: no correction.",
            unit: "days", .within(0...3650)),
        SettingKey(
            "learning.stepsPerDay", \.engine.learning.stepsPerDay,
            "Compute budget: further minibatch steps per day of event time.", .within(0...1_000_000)),
        SettingKey(
            "learning.stepsPerThousandEvents", \.engine.learning.stepsPerThousandEvents,
            "Compute budget: most minibatch steps per thousand consumed records.", .within(0...1_000_000)),
        SettingKey(
            "learning.drawsPerLandmark", \.engine.learning.drawsPerLandmark,
            "How often, on average, a matured landmark bin is drawn.", .within(0...1000)),
    ]

    private static let samplingKeys: [SettingKey<Settings>] = [
        SettingKey(
            "learning.maxLandmarks", \.engine.learning.maxLandmarks,
            "Landmarks in memory, open and matured, over all partitions.", .within(1024...1_000_000_000)),
        SettingKey(
            "learning.landmarkIntervalDays", \.engine.learning.landmarkIntervalDays,
            "Time between the grid landmarks of a user.", unit: "days", .within(1...365)),
        SettingKey(
            "learning.eventLandmarkShare", \.engine.learning.eventLandmarkShare,
            "Share of events that become landmarks as well.", .share),
        SettingKey(
            "learning.frontierShare", \.engine.learning.frontierShare,
            "Share of a minibatch drawn from near each bin's frontier; the rest is uniform.", .share),
        SettingKey(
            "learning.frontierLandmarks", \.engine.learning.frontierLandmarks,
            "Landmarks behind a bin's frontier that count as near.", .within(1...1_000_000_000)),
        SettingKey(
            "learning.holdOutShare", \.engine.learning.holdOutShare, "Share of users never trained on.", .share),
    ]

    private static let stoppingKeys: [SettingKey<Settings>] = [
        SettingKey(
            "learning.earlyStoppingInterval", \.engine.learning.earlyStoppingInterval,
            "Steps between evaluations on the users held out.", .within(1...10_000_000)),
        SettingKey(
            "learning.earlyStoppingPatience", \.engine.learning.earlyStoppingPatience,
            "Evaluations in a row without improvement that hold the serving weights and lower the rate.",
            .within(1...1_000_000)),
        SettingKey(
            "learning.earlyStoppingRateFactor", \.engine.learning.earlyStoppingRateFactor,
            "Factor on the learning rate at each early stop.", .above(0, upTo: 1)),
        SettingKey(
            "learning.minimumSteps", \.engine.learning.minimumSteps,
            "Steps before the network has a say in forecasts; from then on it has the share that it earns.",
            .within(0...1_000_000_000)),
        SettingKey(
            "learning.driftThreshold", \.engine.learning.driftThreshold,
            "Excess losses that add up to a drift of the stream, in standard deviations of a day's; 0: no detection.",
            .within(0...1e6)),
        SettingKey(
            "learning.driftTolerance", \.engine.learning.driftTolerance,
            "Excess of a day's loss that is no sign of drift, in standard deviations.", .within(0...100)),
        SettingKey(
            "learning.driftRateFactor", \.engine.learning.driftRateFactor,
            "Factor on the learning rate while learning adapts to a drift.", .within(1...100)),
        SettingKey(
            "learning.driftDays", \.engine.learning.driftDays,
            "How long learning adapts faster after a drift, in event time.", unit: "days", .within(0...3650)),
        SettingKey("learning.seed", \.engine.learning.seed, "Seed of sampling and dropout."),
        SettingKey(
            "learning.prequentialWindow", \.engine.learning.prequentialWindow,
            "Matured landmarks in the sliding prequential metrics, per horizon.", .within(1...100_000_000)),
    ]

    private static let decisionKeys: [SettingKey<Settings>] = [
        SettingKey(
            "segments.target", \.engine.segments.target, "The value target whose longest horizon ranks users."),
        SettingKey("segments.high", \.engine.segments.high, "Quantile above which a user is high.", .share),
        SettingKey("segments.mid", \.engine.segments.mid, "Quantile above which a user is mid.", .share),
        SettingKey("alerts.enabled", \.engine.alerts.enabled, "Whether alerts are raised."),
        SettingKey(
            "alerts.target", \.engine.alerts.target, "The absence target that is watched, at its longest horizon."),
        SettingKey(
            "alerts.raiseThreshold", \.engine.alerts.raiseThreshold,
            "An alert rises when the probability crosses this from below.", .share),
        SettingKey(
            "alerts.clearThreshold", \.engine.alerts.clearThreshold,
            "It clears when the probability falls to this.", .share),
        SettingKey(
            "alerts.coolDownDays", \.engine.alerts.coolDownDays, "After a raise no second one for this long.",
            unit: "days", .within(0...36_500)),
        SettingKey(
            "alerts.minimumPurchases", \.engine.alerts.minimumPurchases,
            "Only users with at least this many purchases.",
            .within(0...1_000_000)),
        SettingKey(
            "alerts.minimumValueAtRisk", \.engine.alerts.minimumValueAtRisk,
            "Only users whose expected value over the longest horizon is at least this, in the base currency.",
            .within(0...1e12)),
        SettingKey(
            "alerts.rescoreHours", \.engine.alerts.rescoreHours,
            "How often silent users are scored again, in event time.", unit: "hours", .within(1...8760)),
        SettingKey("alerts.factors", \.engine.alerts.factors, "Factors named in an alert.", .within(0...16)),
        SettingKey(
            "alerts.backlog", \.engine.alerts.backlog,
            "Alerts for a silence that began before a model served: `mark` publishes them with `backlog: true`, `drop` "
                + "does not."),
        SettingKey(
            "alerts.backlogLimit", \.engine.alerts.backlogLimit,
            "With `mark`, most of them that are published, over all partitions.", .within(0...1_000_000_000)),
    ]
}

extension EngineConfiguration.Target {
    /// What the kinds predict: `Money, … or …`.
    private static let kinds: String = {
        let all = Kind.allCases.map(\.summary)
        let text = all.dropLast().joined(separator: ", ") + " or " + all[all.count - 1]
        return text.prefix(1).uppercased() + text.dropFirst()
    }()

    static let keys: [SettingKey<Self>] = [
        SettingKey("name", \.name, "Name in outputs, metrics and logs.", .targetName, isRequired: true),
        SettingKey("kind", \.kind, kinds + " up to a horizon.", isRequired: true),
        SettingKey(
            "events", \.events,
            "Event types that count, such as purchase; empty: any. "
                + "A value target takes purchase and refund only."),
        SettingKey(
            "horizonsDays", \.horizonsDays, "Horizons, each one of binEdgesDays.",
            Rule(phrase: "ascending days, at least one") {
                !$0.isEmpty && zip($0, $0.dropFirst()).allSatisfy { $0 < $1 }
            }, isRequired: true),
        SettingKey("weight", \.weight, "Weight in the loss.", .above(0, upTo: 1000)),
        SettingKey("category", \.category, "Only events of this category count; none: all."),
    ]
}
