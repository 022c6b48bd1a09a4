-- What was known when a payment was made, and nothing later: every window ends before its row. What a terminal did
-- is known at once; whether it was fraud only after three days, so those windows end three days before their row.
-- Amounts are summed in cents: whole numbers give the same sum in any order.
-- The first ten days of a window of days serve as history only: payments there have too little of their own.
WITH timed AS (
  SELECT
    *,
    unix_timestamp(TX_DATETIME) AS second,
    CAST(round(TX_AMOUNT * 100) AS BIGINT) AS cents
  FROM accepted
),
counted AS (
  SELECT
    *,
    count(1) OVER customer_1d AS customer_payments_1d,
    count(1) OVER customer_7d AS customer_payments_7d,
    sum(cents) OVER customer_1d AS customer_cents_1d,
    sum(cents) OVER customer_7d AS customer_cents_7d,
    count(1) OVER terminal_1d AS terminal_payments_1d,
    count(1) OVER terminal_7d AS terminal_payments_7d,
    count(1) OVER known_7d AS known_payments_7d,
    sum(TX_FRAUD) OVER known_1d AS known_frauds_1d,
    sum(TX_FRAUD) OVER known_7d AS known_frauds_7d
  FROM timed
  WINDOW
    customer_1d AS (PARTITION BY CUSTOMER_ID ORDER BY second RANGE BETWEEN 86400 PRECEDING AND 1 PRECEDING),
    customer_7d AS (PARTITION BY CUSTOMER_ID ORDER BY second RANGE BETWEEN 604800 PRECEDING AND 1 PRECEDING),
    terminal_1d AS (PARTITION BY TERMINAL_ID ORDER BY second RANGE BETWEEN 86400 PRECEDING AND 1 PRECEDING),
    terminal_7d AS (PARTITION BY TERMINAL_ID ORDER BY second RANGE BETWEEN 604800 PRECEDING AND 1 PRECEDING),
    known_1d AS (PARTITION BY TERMINAL_ID ORDER BY second RANGE BETWEEN 345600 PRECEDING AND 259200 PRECEDING),
    known_7d AS (PARTITION BY TERMINAL_ID ORDER BY second RANGE BETWEEN 864000 PRECEDING AND 259200 PRECEDING)
)
SELECT
  _row_id, TX_DATETIME, CUSTOMER_ID, TERMINAL_ID, TX_AMOUNT, TX_FRAUD,
  CAST(dayofweek(TX_DATETIME) IN (1, 7) AS INT) AS weekend,
  CAST(hour(TX_DATETIME) < 6 AS INT) AS night,
  customer_payments_1d,
  customer_payments_7d,
  coalesce(customer_cents_7d / 100 / customer_payments_7d, 0D) AS customer_mean_amount_7d,
  coalesce(cents / (customer_cents_7d / customer_payments_7d), 1D) AS amount_to_usual,
  terminal_payments_1d,
  terminal_payments_7d,
  coalesce(known_frauds_1d, 0L) AS known_frauds_1d,
  coalesce(known_frauds_7d, 0L) AS known_frauds_7d,
  coalesce(known_frauds_7d / known_payments_7d, 0D) AS known_fraud_share_7d
FROM counted
WHERE second >= (SELECT min(second) FROM timed) + 10 * 86400
