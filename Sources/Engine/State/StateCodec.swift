import CKernels

/// The recurrent state at rest: h in 8 bits (it lies in [-1, 1]), c in half precision.
struct StateCodec {
    let units: Int
    let hasCell: Bool

    @inline(__always)
    func pack(_ state: UnsafePointer<Float>, into bytes: UnsafeMutableRawPointer) {
        clvd_int8_from_unit(units, state, bytes.assumingMemoryBound(to: Int8.self))
        if hasCell {
            clvd_half_from_float(units, state + units, (bytes + units).assumingMemoryBound(to: UInt16.self))
        }
    }

    @inline(__always)
    func unpack(_ bytes: UnsafeRawPointer, into state: UnsafeMutablePointer<Float>) {
        clvd_unit_from_int8(units, bytes.assumingMemoryBound(to: Int8.self), state)
        if hasCell {
            clvd_float_from_half(units, (bytes + units).assumingMemoryBound(to: UInt16.self), state + units)
        }
    }
}
