/// What kind of shop is simulated: a law by which customers buy, and numbers for it. `docs/simulation.md` has the laws
/// with their sources.
public enum ShopCharacter: String, Sendable, CaseIterable {
    case shop
    case subscription
    case seasonal
    case oneTime = "one-time"
    case heavyTailed = "heavy-tailed"
    case tiny
    case bursty

    /// What is to be known before one chooses.
    public var summary: String {
        switch self {
        case .shop: "buys at a rate of one's own until one leaves for ever (Pareto/NBD)"
        case .subscription: "pays every 30, 90 or 365 days, and may leave at each renewal (shifted beta-geometric)"
        case .seasonal: "the shop, whose rates have a peak in December, 11 times the trough in June"
        case .oneTime: "three of four customers never buy again (BG/NBD)"
        case .heavyTailed: "the shop, with few who buy often and Pareto order values of infinite variance"
        case .tiny: "the shop with 300 customers, 90 days, many clicks and few purchases"
        case .bursty: "bursts of purchases between long silences (interrupted Poisson process)"
        }
    }

    public var parameters: ClickstreamParameters {
        var p = ClickstreamParameters()
        switch self {
        case .shop: break
        case .subscription:
            p.law = .renewals(PurchaseLaw.Renewals())
            (p.medianOrderValue, p.orderValueSpreadOfUsers, p.orderValueSpread) = (12, 0.6, 0)
            p.browsingPerPurchase = 1
        case .seasonal:
            p.law = .seasonal(PurchaseLaw.Season())
            (p.purchaseShape, p.purchaseScaleDays) = (1.2, 60)
            (p.churnShape, p.churnScaleDays) = (1.5, 600)
            p.browsingPerPurchase = 1
        case .oneTime:
            p.law = .dropout(PurchaseLaw.Dropout())
            (p.purchaseShape, p.purchaseScaleDays) = (1.2, 60)
            p.browsingPerPurchase = 1
        case .heavyTailed:
            p.orderValueTail = 1.5
            (p.purchaseShape, p.purchaseScaleDays) = (0.5, 30)
            (p.churnShape, p.churnScaleDays) = (1.5, 300)
            p.orderValueSpreadOfUsers = 0.8
            p.browsingPerPurchase = 1
        case .tiny:
            (p.purchaseShape, p.purchaseScaleDays) = (1, 60)
            (p.churnShape, p.churnScaleDays) = (1.5, 90)
            p.browsingPerPurchase = 12
            p.acquisitionDays = 90
        case .bursty:
            p.law = .bursts(PurchaseLaw.Bursts())
            (p.churnShape, p.churnScaleDays) = (1.5, 300)
            p.browsingPerPurchase = 1
        }
        return p
    }

    /// Customers and days, where nothing else is asked for.
    public var size: (users: Int, days: Double) {
        switch self {
        case .shop: (10_000, 365)
        case .subscription: (2_000, 730)
        case .seasonal: (3_000, 1_095)
        case .oneTime: (8_000, 540)
        case .heavyTailed: (4_000, 540)
        case .tiny: (300, 90)
        case .bursty: (1_500, 365)
        }
    }

    /// Horizons of landmarks, days.
    public var horizonsDays: [Double] {
        switch self {
        case .tiny: [7, 28]
        case .bursty: [7, 30]
        default: [30, 90]
        }
    }
}

/// When a customer buys, given the numbers of their own. Rates are per day.
public enum PurchaseLaw: Sendable, Equatable {
    /// A Poisson process until an exponential lifetime ends, both rates Gamma over the customers: Pareto/NBD
    /// (Schmittlein, Morrison and Colombo 1987).
    case poisson
    case renewals(Renewals)
    case seasonal(Season)
    case dropout(Dropout)
    case bursts(Bursts)

    /// A contract that is paid at the start and every period after it, and ended at each renewal with a probability
    /// of the customer's own, Beta over the customers (shifted beta-geometric; Fader and Hardie 2007). A payment
    /// comes some time after it is due: exponential, cut at `latestDays`.
    public struct Renewals: Sendable, Equatable {
        /// Lengths of contracts, and how many of the customers have each. An order's value is `medianOrderValue` for
        /// 30 days, and in proportion for others.
        public var periodsDays = [30.0, 90, 365]
        public var shares = [0.7, 0.2, 0.1]
        public var leaveA = 0.8
        public var leaveB = 7.2
        public var delayDays = 0.3
        public var latestDays = 5.0
        public init() {}
    }

    /// The Poisson law with all rates times s(t) = exp(strength · cos(2π(day − peak) / 365.2425)) / I0(strength), whose
    /// mean over a year is 1 (the density of von Mises).
    public struct Season: Sendable, Equatable {
        public var strength = 1.2 { didSet { mean = Self.bessel(strength) } }
        /// Of exp(strength · cos) over a year.
        private(set) var mean = Self.bessel(1.2)
        /// Of the year, 0 on 1 January.
        public var peakDay = 340.0
        public init() {}
    }

    /// A Poisson process that ends after each purchase, the first one included, with a probability of the customer's
    /// own, Beta over the customers (BG/NBD; Fader, Hardie and Lee 2005; as here with a first purchase that may be the
    /// last: Batislam, Denizel and Filiztekin 2007). The first purchase is the start.
    public struct Dropout: Sendable, Equatable {
        public var leaveA = 2.4
        public var leaveB = 0.8
        public init() {}
    }

    /// A Poisson process that is switched on and off (interrupted Poisson process; Kuczura 1973) until an exponential
    /// lifetime ends. How often it is switched on is Gamma over the customers. It is on at the start, with a purchase.
    public struct Bursts: Sendable, Equatable {
        public var startShape = 1.2
        public var startScaleDays = 60.0
        public var endsPerDay = 0.4
        public var purchasesPerDay = 2.0
        public init() {}
    }

    /// As files of the truth name it.
    public var name: String {
        switch self {
        case .poisson: "poisson"
        case .renewals: "renewals"
        case .seasonal: "seasonal"
        case .dropout: "dropout"
        case .bursts: "bursts"
        }
    }
}
