import Engine
import EventInput
import Foundation
import Testing

@testable import Settings

/// Loads YAML from a file that is gone afterwards.
func load(_ yaml: String?, _ environment: [String: String] = [:]) throws -> Settings {
    guard let yaml else { return try Settings.load(path: nil, environment: environment) }
    return try withFile(Data(yaml.utf8)) { try Settings.load(path: $0, environment: environment) }
}

func withFile<T>(_ data: Data, _ body: (String) throws -> T) throws -> T {
    let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let file = directory.appending(path: "test.yaml")
    try data.write(to: file)
    return try body(file.path)
}

/// The problems of settings that must not load.
func problems(_ yaml: String?, _ environment: [String: String] = [:]) throws -> [SettingsProblem] {
    try #require(throws: SettingsError.self) { try load(yaml, environment) }.problems
}

let config = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "config")

/// Valid, and no key has its default. Secrets are left out: they are not written.
let changed: Settings = {
    var s = Settings()
    s.kafka.bootstrapServers = "one.example:9093,two.example:9094"
    s.kafka.groupId = "a group: \"quoted\" # ${HOME}\n\u{2028}é😀"
    s.kafka.instanceId = "null"
    s.kafka.staticMembership = false
    s.kafka.assignment = .roundrobin
    s.kafka.properties = ["security.protocol": "PLAINTEXT", "client.id": "yes"]
    s.input.topics = ["a", "b.c"]
    s.input.format = "/etc/clvd/format.yaml"
    s.input.start = .latest
    s.input.acceptCompacted = true
    s.input.keying = .repartition
    s.input.eventsTopic = "keyed-events"
    s.input.eventsPartitions = 24
    s.input.skip = ["a/3/7", "a/0/10-20"]
    s.input.alignmentWaitMs = 250
    s.input.limits.maxRecordBytes = 4096
    s.input.limits.maxIdBytes = 64
    s.input.limits.maxAmount = 1234.5
    s.input.limits.maxQuantity = 1e11 + 0.1
    s.input.limits.minYear = 2001
    s.input.limits.maxYear = 2050
    s.input.currency.base = "EUR"
    s.input.registry.url = "https://registry:8081"
    s.input.registry.auth = "********"  // what stands for any secret
    s.input.registry.cache = "/var/lib/clvd/schemas"
    s.input.currency.assumed = "USD"
    s.input.currency.rates = ["USD": 0.92, "GBP": 1.0 / 3]
    s.output.updatesTopic = "updates"
    s.output.alertsTopic = "alerts"
    s.output.deadLetterTopic = "dead"
    s.output.createTopics = false
    s.output.partitions = 12
    s.output.replicationFactor = 3
    s.output.commitIntervalMs = 99
    s.output.commitRecords = 77
    s.delivery = .atLeastOnce
    s.snapshots.directory = "/var/lib/clvd 1"
    s.snapshots.intervalSeconds = 61
    s.snapshots.keep = 4
    s.snapshots.acceptGap = true
    s.snapshots.acceptMissingOffsets = true
    s.snapshots.acceptOrigin = true
    s.snapshots.discardIncompatible = true
    s.runtime.threads = 2
    s.runtime.batchRecords = 100
    s.runtime.idleTickSeconds = 0
    s.runtime.reportIntervalSeconds = 1
    s.runtime.logLevel = .debug
    var e = EngineConfiguration()
    e.targets = [
        .init(name: "money", kind: .value, events: ["purchase", "refund"], horizonsDays: [0.5, 14], weight: 0.3),
        .init(name: "shoes", kind: .occurrence, events: ["view"], horizonsDays: [14], category: "shoes, red"),
        .init(name: "gone", kind: .absence, events: [], horizonsDays: [14]),
    ]
    e.binEdgesDays = [0.5, 14]
    e.time.allowedLatenessSeconds = 1
    e.time.lateEvents = .accept
    e.time.lateEventDays = 7
    e.state.retentionDays = 20
    e.state.maxUsers = 1000
    e.state.hashSeed = .max
    e.state.sessionGapMinutes = 31
    e.state.orderGapDays = 3
    e.state.subtractRefunds = false
    e.state.maxEventsPerDay = 77
    e.state.excessEvents = .ignore
    e.model.recurrent = .gru
    e.model.units = 32
    e.model.hidden = 48
    e.model.typeEmbedding = 9
    e.model.categoryEmbedding = 10
    e.model.categoryBuckets = 2048
    e.model.crossEmbedding = 5
    e.model.crossBuckets = 512
    e.model.seed = 1 << 40
    e.learning.enabled = false
    e.learning.optimizer = .sgd
    e.model.purchaseProcess = false
    e.learning.learningRate = 1e-5
    e.learning.schedule = .cosine
    e.learning.warmupSteps = 0
    e.learning.scheduleSteps = 9
    e.learning.minimumRateFactor = 0.2
    e.learning.beta1 = 0.8
    e.learning.beta2 = 0.99
    e.learning.epsilon = 1e-7
    e.learning.momentum = 0
    e.learning.weightDecay = 1.0 / 3
    e.learning.clipNorm = 5
    e.learning.dropoutState = 0
    e.learning.dropoutHidden = 0.2
    e.learning.emaDecay = 0.9
    e.learning.batchSize = 64
    e.learning.intervalRecords = 100
    e.learning.intervalHours = 5
    e.learning.calibrationDays = 7.5
    e.learning.stepsPerDay = 3
    e.learning.stepsPerThousandEvents = 0.125
    e.learning.drawsPerLandmark = 3
    e.learning.maxLandmarks = 5000
    e.learning.landmarkIntervalDays = 3
    e.learning.eventLandmarkShare = 0.1
    e.learning.frontierShare = 1
    e.learning.frontierLandmarks = 300
    e.learning.holdOutShare = 0.1
    e.learning.earlyStoppingInterval = 10
    e.learning.earlyStoppingPatience = 2
    e.learning.earlyStoppingRateFactor = 0.7
    e.learning.minimumSteps = 0
    e.learning.driftThreshold = 12
    e.learning.driftTolerance = 0.25
    e.learning.driftRateFactor = 5
    e.learning.driftDays = 21
    e.learning.seed = 7
    e.learning.prequentialWindow = 500
    e.segments.target = "money"
    e.segments.high = 0.8
    e.segments.mid = 0.3
    e.alerts.enabled = false
    e.alerts.target = "gone"
    e.alerts.raiseThreshold = 0.7
    e.alerts.clearThreshold = 0.1
    e.alerts.coolDownDays = 0.5
    e.alerts.minimumPurchases = 3
    e.alerts.minimumValueAtRisk = 12.25
    e.alerts.rescoreHours = 6
    e.alerts.factors = 1
    e.alerts.backlog = .drop
    e.alerts.backlogLimit = 17
    s.engine = e
    s.futureSkewSeconds = 5
    return s
}()
