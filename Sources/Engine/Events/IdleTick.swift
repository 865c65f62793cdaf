/// Time that passed without records: the clock had got to `clock` (event time, ms) by idle ticks before the record at
/// offset `before` came.
public struct IdleTick: Sendable, Equatable {
    public var before: Int64
    public var clock: Int64

    public init(before: Int64, clock: Int64) {
        self.before = before
        self.clock = clock
    }
}
