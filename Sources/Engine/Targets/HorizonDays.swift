/// Days of horizons and bins as text: in outputs, metrics and logs.
public enum HorizonDays {
    /// `30` for 30.0, `0.5` for 0.5.
    /// - Parameter days: finite.
    public static func text(_ days: Double) -> String { days == days.rounded() ? String(Int(days)) : String(days) }
}
