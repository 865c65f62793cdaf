internal import Engine
internal import Logging
internal import Settings

/// What the parts of one life of the loop share.
struct LoopContext {
    let settings: Settings
    let shared: SharedState
    let logger: Logger
    let engine: Engine
    let consumer: any RecordSource
    let clock: any LoopClock
    let reporter: Reporter
    /// nil: there is but one.
    let stage: Stage?

    /// Whether there is a state, which snapshots keep. Where there is none, a partition goes on where the group is.
    var hasState: Bool { stage != .route }

    /// Records may vanish from the middle of an input.
    var acceptsCompacted: Bool { settings.input.acceptCompacted }
}
