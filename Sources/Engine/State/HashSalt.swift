/// Salts of `clvd_mix`: they make the draws of one user for different purposes independent. Each is the ASCII code
/// of its purpose; another value would draw other samples.
enum HashSalt {
    /// "grid": which landmarks of the time grid a thinned pool keeps.
    static let landmarkGrid: UInt64 = 0x67_72_69_64
    /// "event": which events become landmarks.
    static let eventLandmark: UInt64 = 0x65_76_65_6E_74
    /// "hold": which users are held out of training.
    static let holdOut: UInt64 = 0x68_6F_6C_64

    /// Hashes in 32 bits are below this; a share times it is a threshold for them.
    static let range32: Double = 4_294_967_296
}
