internal import Engine
public import Settings

/// The two halves of a daemon whose input is not keyed by customer (`input.keying: repartition`). Each is a loop of its
/// own, with a group, offsets and transactions of its own, and may run in a process of its own.
public enum Stage: String, Sendable, CaseIterable {
    /// Reads the input topics, and writes their records, keyed by customer, to the topic of events. It keeps no state.
    case route
    /// Reads the topic of events and makes forecasts.
    case score
}

extension Settings {
    /// The settings of a stage: what it reads and writes, as which group.
    public func settings(of stage: Stage) -> Settings {
        var settings = self
        settings.input.eventsTopic = eventsTopic
        let isOfEvents = { (entry: String) in entry.hasPrefix("\(eventsTopic)/") }
        switch stage {
        case .score:
            settings.input.topics = [eventsTopic]
            settings.input.skip = input.skip.filter(isOfEvents)
        case .route:
            settings.kafka.groupId = routeGroup
            settings.input.skip = input.skip.filter { !isOfEvents($0) }
            settings.output.updatesTopic = eventsTopic
            settings.output.alertsTopic = eventsTopic
            settings.snapshots.directory = "\(snapshots.directory)/no-state-of-\(Stage.route.rawValue)"
            // No customer comes to its engine, which only counts records.
            settings.engine = EngineConfiguration()
            settings.engine.learning.enabled = false
            settings.engine.state.maxUsers = 1
            settings.engine.learning.maxLandmarks = 1
            settings.runtime.idleTickSeconds = 0
            settings.runtime.threads = 1
        }
        return settings
    }

    /// The consumer group of the first stage.
    public var routeGroup: String { "\(kafka.groupId)-route" }
}
