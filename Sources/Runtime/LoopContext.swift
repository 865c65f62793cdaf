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

    /// Records may vanish from the middle of an input.
    var acceptsCompacted: Bool { settings.input.acceptCompacted }
}
