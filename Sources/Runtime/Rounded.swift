/// A number for the log, to three decimals.
func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
