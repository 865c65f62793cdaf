// Times: ISO 8601 in the forms that event sources write, proleptic Gregorian calendar, years 1 to 9999.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace clvd {

/// Days from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
inline int64_t days_from_civil(int64_t year, unsigned month, unsigned day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned of_era = static_cast<unsigned>(year - era * 400);
    unsigned of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

class TimeReader {
public:
    TimeReader(const uint8_t *text, size_t length) : p_(text), end_(text + length) {}

    /// `YYYY-MM-DD`, then `T` or a space, `HH:MM[:SS[.fraction]]`, then a zone: `Z`, ` UTC`, ` GMT`, `[ ]±HH[[:]MM]`.
    bool read(bool zone_required, int64_t *time_ms) {
        unsigned year, month, day, hour = 0, minute = 0, second = 0, millisecond = 0;
        if (!digits(4, &year) || !skip('-') || !digits(2, &month) || !skip('-') || !digits(2, &day)) return false;
        if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month)) return false;
        int64_t offset_minutes = 0;
        if (p_ == end_) {
            if (zone_required) return false;
        } else {
            if (*p_ != 'T' && *p_ != 't' && *p_ != ' ') return false;
            ++p_;
            if (!digits(2, &hour) || !skip(':') || !digits(2, &minute)) return false;
            if (skip(':')) {
                if (!digits(2, &second)) return false;
                if (p_ < end_ && (*p_ == '.' || *p_ == ',') && !fraction(&millisecond)) return false;
            }
            // A leap second (:60) is the first instant of the next minute, as POSIX counts.
            if (hour > 23 || minute > 59 || second > 60) return false;
            if (p_ == end_ ? zone_required : !zone(&offset_minutes)) return false;
        }
        int64_t days = days_from_civil(year, month, day);
        int64_t minutes = days * 1440 + hour * 60 + minute - offset_minutes;
        *time_ms = (minutes * 60 + second) * 1000 + millisecond;
        return true;
    }

private:
    const uint8_t *p_;
    const uint8_t *end_;

    static unsigned days_in(unsigned year, unsigned month) {
        static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        return month == 2 && leap ? 29 : days[month - 1];
    }

    bool skip(uint8_t c) {
        if (p_ == end_ || *p_ != c) return false;
        ++p_;
        return true;
    }

    bool digits(int count, unsigned *value) {
        if (end_ - p_ < count) return false;
        unsigned sum = 0;
        for (int i = 0; i < count; ++i) {
            unsigned digit = static_cast<unsigned>(p_[i]) - '0';
            if (digit > 9) return false;
            sum = sum * 10 + digit;
        }
        p_ += count;
        *value = sum;
        return true;
    }

    /// Any number of digits; those after the third are dropped.
    bool fraction(unsigned *millisecond) {
        const uint8_t *first = ++p_;
        unsigned scale = 100;
        for (; p_ < end_ && *p_ >= '0' && *p_ <= '9'; ++p_) {
            *millisecond += (*p_ - '0') * scale;
            scale /= 10;
        }
        return p_ > first;
    }

    bool zone(int64_t *offset_minutes) {
        if (*p_ == 'Z' || *p_ == 'z') return ++p_ == end_;
        if (end_ - p_ == 4 && (std::memcmp(p_, " UTC", 4) == 0 || std::memcmp(p_, " GMT", 4) == 0)) return true;
        if (*p_ == ' ' && end_ - p_ > 1) ++p_;
        if (*p_ != '+' && *p_ != '-') return false;
        bool west = *p_++ == '-';
        unsigned hours, minutes = 0;
        if (!digits(2, &hours)) return false;
        if (p_ != end_) {
            skip(':');
            if (!digits(2, &minutes)) return false;
        }
        if (p_ != end_ || hours > 23 || minutes > 59) return false;
        int64_t total = hours * 60 + minutes;
        *offset_minutes = west ? -total : total;
        return true;
    }
};

}  // namespace clvd
