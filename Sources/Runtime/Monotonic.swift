import Foundation

/// Seconds since an arbitrary start, never backwards.
func monotonic() -> Double { ProcessInfo.processInfo.systemUptime }
