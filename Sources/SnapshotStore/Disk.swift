package import CSnapshot

/// Replaces the disk of a store in simulations, to show what a crash leaves of the calls that the store makes. Without
/// one, the store makes system calls, and a forked child writes in the background.
package protocol Disk: AnyObject {
    /// The calls that a write consists of.
    var calls: UnsafePointer<clvd_file_calls> { get }
    /// Runs `write`, whose calls take effect one after the other, later.
    func inBackground(_ write: () -> Void)
    /// Whether all calls made in the background have taken effect.
    /// - Parameter wait: makes them take effect now.
    func isIdle(wait: Bool) -> Bool
    /// Drops the calls made in the background that have not taken effect yet.
    func cancel()
    /// Removes a folder with all that is in it.
    func remove(folder name: String)
}

/// The system's calls, at a constant address.
enum SystemCalls {
    nonisolated(unsafe) static let pointer: UnsafePointer<clvd_file_calls> = {
        let calls = UnsafeMutablePointer<clvd_file_calls>.allocate(capacity: 1)
        calls.initialize(to: clvd_system_file_calls)
        return UnsafePointer(calls)
    }()
}
