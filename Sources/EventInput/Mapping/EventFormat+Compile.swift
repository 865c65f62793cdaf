import CEventParser

extension EventFormat {
    /// Puts the mapping into `parser` and calls `refused` with the path of each key (`fields.user_id[0]`) whose value
    /// the parser does not take.
    func compile(into parser: OpaquePointer, refused: (String) -> Void = { _ in }) {
        func check(_ key: @autoclosure () -> String, _ accepted: Bool) { if !accepted { refused(key()) } }
        for field in Field.allCases {
            addPlaces(of: field, to: parser, check)
            if let name = headers[field] { check("headers.\(field)", clvd_parser_add_header(parser, field.code, name)) }
        }
        for (index, pointer) in items.enumerated() {
            for pointer in rooted(pointer) {
                check("items.pointer[\(index)]", clvd_parser_add_items(parser, pointer))
            }
        }
        for (index, pointer) in single.enumerated() {
            for pointer in rooted(pointer) { check("single[\(index)]", clvd_parser_add_single(parser, pointer)) }
        }
        addTypes(to: parser, check)
        clvd_parser_set_numeric_strings(parser, numericStrings)
        clvd_parser_set_orders(
            parser,
            clvd_order_rules(
                whole: order == .whole, from_session: orderFromSession, refund_from_items: refundFromItems))
        addRules(to: parser, check)
    }

    /// The places that a pointer stands for.
    private func rooted(_ pointer: String) -> [String] { roots.map { $0 + pointer } + [pointer] }

    private func addPlaces(
        of field: Field, to parser: OpaquePointer, _ check: (@autoclosure () -> String, Bool) -> Void
    ) {
        let places = (fields[field] ?? []).enumerated()
        // What the body says goes before what is around it.
        for root in roots + [""] {
            for (index, place) in places {
                let added = add(place, root, field) {
                    clvd_parser_add_ruled_source(parser, field.code, $0, place.unit.code, $1)
                } plain: {
                    clvd_parser_add_source(parser, field.code, $0, place.unit.code)
                }
                check("fields.\(field)[\(index)]", added)
            }
        }
        if field == .userID, case .places(let guests) = guests {
            for (index, pointer) in guests.enumerated() {
                for pointer in rooted(pointer) {
                    check("guest[\(index)]", clvd_parser_add_source(parser, field.code, pointer, clvd_time_iso8601))
                }
            }
        }
        for (index, place) in (itemFields[field] ?? []).enumerated() {
            let added = add(place, "", field) {
                clvd_parser_add_ruled_item_source(parser, field.code, $0, $1)
            } plain: {
                clvd_parser_add_item_source(parser, field.code, $0)
            }
            check("items.\(field)[\(index)]", added)
        }
        if let text = defaults[field] { check("defaults.\(field)", clvd_parser_add_default(parser, field.code, text)) }
    }

    /// Adds a place with its rule, or, where it needs none, plainly.
    private func add(
        _ place: Place, _ root: String, _ field: Field,
        ruled: (UnsafePointer<CChar>, UnsafePointer<clvd_rule>) -> Bool, plain: (UnsafePointer<CChar>) -> Bool
    ) -> Bool {
        let isNumber = Field.ofNumbers.contains(field)
        let hasComma = isNumber && decimal == .comma
        let isWhole = wholeIDs && (Field.ofIDs.contains(field) || field == .productID)
        let isChanged = nonzero.contains(field) || (isNumber && field != .price && negative == .refund)
        let pointer = root + place.pointer
        guard hasComma || isWhole || isChanged || place.divisor != 1 || place.constant != nil else {
            return plain(pointer)
        }
        func add(_ constant: UnsafePointer<CChar>?) -> Bool {
            var rule = clvd_rule(
                constant: constant, divisor: place.divisor, decimal_comma: hasComma, whole: isWhole)
            return ruled(pointer, &rule)
        }
        return place.constant?.withCString(add) ?? add(nil)
    }

    private func addTypes(to parser: OpaquePointer, _ check: (@autoclosure () -> String, Bool) -> Void) {
        clvd_parser_set_loose_names(parser, names == .loose)
        for type in types { check("types.\(type.name)", clvd_parser_add_type(parser, type.name, type.type)) }
        clvd_parser_set_types(parser, unknownTypes.code, defaultType)
    }

    /// What comes after all places.
    private func addRules(to parser: OpaquePointer, _ check: (@autoclosure () -> String, Bool) -> Void) {
        for field in nonzero { _ = clvd_parser_set_nonzero(parser, field.code) }
        if negative == .refund { clvd_parser_set_negative_refunds(parser) }
        if joins == .everyEvent { clvd_parser_set_joins_always(parser) }
        if guests == .ignored { clvd_parser_set_guests_ignored(parser) }
        for (index, word) in placeholders.enumerated() {
            check("placeholders[\(index)]", clvd_parser_add_placeholder(parser, word))
        }
        for (index, pointer) in batches.enumerated() {
            check("batch[\(index)]", clvd_parser_add_batch(parser, pointer))
        }
        for condition in conditions {
            check(
                "where.\(condition.pointer)", clvd_parser_add_condition(parser, condition.pointer, condition.isNegated))
            for value in condition.values { _ = clvd_parser_add_condition_value(parser, value) }
        }
    }
}
