import Foundation

/// Why a snapshot could not be written or read: what was tried, on which path, what came of it, what to do.
public struct SnapshotError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        /// Another process uses the folder.
        case locked
        /// No permission, or a read-only file system.
        case notWritable
        /// The disk or a quota is full, or a file would be larger than is allowed.
        case noSpace
        /// What is stored is not what was written.
        case corrupt
        /// The folder or the snapshot is not there, or has no such section.
        case missing
        /// The write was stopped on request.
        case cancelled
        /// Anything else that the system reports.
        case io
    }

    public let kind: Kind
    public let operation: String
    public let path: String
    public let reason: String
    public let advice: String

    public var description: String { "\(operation) \(path): \(reason); \(advice)" }

    /// - Parameters:
    ///   - operation: what was tried: a verb such as `read`.
    ///   - path: what it was tried on.
    ///   - advice: what to do about it.
    public init(_ kind: Kind, _ operation: String, _ path: String, _ reason: String, advice: String) {
        self.kind = kind
        self.operation = operation
        self.path = path
        self.reason = reason
        self.advice = advice
    }

    /// A failed system call.
    init(_ operation: String, _ path: String, errno code: Int32) {
        let (kind, advice): (Kind, String) =
            switch code {
            case EACCES, EPERM, EROFS: (.notWritable, "give this user access to it, or choose another folder")
            case ENOSPC, EDQUOT, EFBIG: (.noSpace, "free space there, or choose another folder")
            case ENOENT, ENOTDIR: (.missing, "check the path, and that nothing else removes it")
            case ENOMEM, EAGAIN: (.io, "free memory, or allow more of it and of processes to this user")
            default: (.io, "if it happens again, look for faults of the disk in the kernel's log")
            }
        self.init(kind, operation, path, String(cString: strerror(code)), advice: advice)
    }

    static func damaged(_ path: String, _ reason: String) -> SnapshotError {
        SnapshotError(.corrupt, "read", path, reason, advice: "this snapshot is of no use, take another")
    }
}
