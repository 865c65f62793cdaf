package import CSnapshot

/// Stands between a store and the disk, so that a simulation can show what a crash leaves of the very calls that a
/// store makes. Without one, the calls are the system's and a write in the background is a forked child's.
package protocol Disk: AnyObject {
    /// The calls that a write consists of.
    var calls: UnsafePointer<clvd_file_calls> { get }
    /// Lets `write` make its calls; they take effect by and by.
    func inBackground(_ write: () -> Void)
    /// Whether all calls made in the background have taken effect.
    /// - Parameter wait: lets them take effect now.
    func isIdle(wait: Bool) -> Bool
    /// Calls made in the background that have taken no effect will take none.
    func cancel()
    /// Removes a folder with all that is in it.
    func remove(folder name: String)
}

/// The system's calls, at an address that stays.
enum SystemCalls {
    nonisolated(unsafe) static let pointer: UnsafePointer<clvd_file_calls> = {
        let calls = UnsafeMutablePointer<clvd_file_calls>.allocate(capacity: 1)
        calls.initialize(to: clvd_system_file_calls)
        return UnsafePointer(calls)
    }()
}
