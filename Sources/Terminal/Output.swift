import Foundation

/// What is known of the place where text goes.
struct Output: Sendable {
    let handle: FileHandle
    /// Whether the cursor may be moved: a terminal, and not a dumb one.
    let isTTY: Bool
    /// Whether colour is welcome: a terminal, and NO_COLOR unset or empty (https://no-color.org).
    let colour: Bool

    /// What is nil is found out from the file and the environment.
    init(
        _ handle: FileHandle, isTTY: Bool? = nil, colour: Bool? = nil,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) {
        self.handle = handle
        self.isTTY = isTTY ?? (isatty(handle.fileDescriptor) == 1 && !["dumb", ""].contains(environment["TERM"] ?? ""))
        self.colour = self.isTTY && (colour ?? (environment["NO_COLOR"] ?? "").isEmpty)
    }

    /// Columns and rows of the terminal; 100 × 30 when it does not say.
    var size: (width: Int, height: Int) {
        var size = winsize()
        let known = ioctl(handle.fileDescriptor, UInt(TIOCGWINSZ), &size) == 0
        return (
            known && size.ws_col > 0 ? Int(size.ws_col) : 100, known && size.ws_row > 0 ? Int(size.ws_row) : 30
        )
    }

    /// Writes at once. A reader that went away is no reason to stop the work, so errors are ignored.
    func write(_ text: String) { try? handle.write(contentsOf: Data(text.utf8)) }
}

/// Seconds since an arbitrary start, never backwards.
func monotonicSeconds() -> Double { ProcessInfo.processInfo.systemUptime }
